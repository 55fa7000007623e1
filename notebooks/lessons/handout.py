"""Copies of lessons for a course: without the solutions and, if wished, marked up for nbgrader. From `notebooks/`:

python -m lessons.handout 01_diffusion_and_inversion.ipynb --out handout
python -m lessons.handout 01_diffusion_and_inversion.ipynb --out course/source/lesson-01 --nbgrader
"""

from __future__ import annotations

import argparse
import json
import re
import zlib
from base64 import b64decode, b64encode
from collections.abc import Iterator
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

from lessons import EXERCISES

Cell = dict[str, Any]
ANNOUNCED = re.compile(r"\n*[^\n]*\bholds a solution\b[^\n]*")  # the line that leads to a solution's cell

STAND_IN = """# So that the lesson goes on, a right function takes the place of an answer that doesn't pass yet.
if not check.{name}.verdict({answer}).passed:
    from lessons.handout import unpack

    unpack("{packed}", globals())"""


def handout(notebook: Path, nbgrader: bool = False) -> Cell:
    """The notebook without its solutions; for nbgrader each exercise is worth a point, given by a locked cell.

    Where a solution stood, it takes the place of an answer that doesn't pass yet, packed so that it can't be read, and
    the rest of the lesson runs.
    """
    book = json.loads(notebook.read_text(encoding="utf-8"))
    book["cells"] = [cell for old in book["cells"] for cell in _handed_out(old, nbgrader)]
    return book


def _handed_out(cell: Cell, nbgrader: bool) -> Iterator[Cell]:
    tags, source = cell["metadata"].get("tags", []), "".join(cell["source"])
    if cell["cell_type"] == "markdown":
        yield cell | {"source": ANNOUNCED.sub("", source).strip()}
    elif "solution" in tags:
        name, answer = _asked(tags, source)
        packed = b64encode(zlib.compress(source.encode())).decode()
        yield _code(cell["id"], STAND_IN.format(name=name, answer=answer, packed=packed), {})
    elif "exercise" in tags and nbgrader:
        name, answer = _asked(tags, source)
        yield cell | {"metadata": cell["metadata"] | {"nbgrader": _mark(name, solution=True)}}
        test = f"verdict = check.{name}.verdict({answer})\nassert verdict.passed, verdict.text"
        yield _code(f"{cell['id']}-test", test, {"nbgrader": _mark(f"{name}-test", grade=True, locked=True, points=1)})
    else:
        yield cell


def unpack(packed: str, names: dict[str, Any]) -> None:
    """Define among `names` what a packed solution defines, silently."""
    with redirect_stdout(StringIO()):
        exec(zlib.decompress(b64decode(packed)).decode(), names)


def _asked(tags: list[str], source: str) -> tuple[str, str]:
    """Of an exercise's or solution's cell: the name of the exercise, and that of the function that is the answer."""
    name = next(tag for tag in tags if tag in EXERCISES)
    return name, re.findall(rf"check\.{name}\((\w+)\)", source)[-1]


def _code(name: str, source: str, metadata: Cell) -> Cell:
    new = {"cell_type": "code", "id": name[:64], "metadata": metadata, "source": source}
    return new | {"outputs": [], "execution_count": None}


def _mark(name: str, **what: Any) -> dict[str, Any]:
    plain = {"schema_version": 3, "cell_type": "code", "grade": False, "solution": False, "locked": False}
    return plain | {"grade_id": name.replace("_", "-"), "task": False} | what


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("notebooks", type=Path, nargs="+")
    arguments.add_argument("--out", type=Path, required=True, help="folder for the copies")
    arguments.add_argument("--nbgrader", action="store_true", help="mark the exercises up for nbgrader")
    chosen = arguments.parse_args()
    chosen.out.mkdir(parents=True, exist_ok=True)
    for path in chosen.notebooks:
        copy = handout(path, chosen.nbgrader)
        (chosen.out / path.name).write_text(json.dumps(copy, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
