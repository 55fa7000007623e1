"""Grades handed-in copies of the lessons: runs the answers alone, not the whole notebooks. From `notebooks/`:

python -m lessons.grade handed-in/*.ipynb > grades.csv

It runs other people's code: use an account or a container that has nothing to lose.
"""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from collections.abc import Iterable
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from types import SimpleNamespace

from lessons import EXERCISES
from lessons.exercise import Function, Verdict

SECONDS = 60  # for the answers of one copy, the start of Python included
MISSING = Verdict(False, "The answer's cell is not there, or no longer calls its check.")


def grade(notebook: Path) -> dict[str, Verdict]:
    """The verdict on each exercise of a copy, by the exercise's name.

    An answer runs with what its exercise `uses`. What it prints is not believed: only its call of `check` counts.
    """
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    answers = [(set(cell["metadata"].get("tags", ())), "".join(cell["source"])) for cell in cells]
    found = {}
    for tags, source in answers:
        for name in tags & EXERCISES.keys() if "exercise" in tags else ():
            found[name] = _run(name, source)
    return found


def _run(name: str, source: str) -> Verdict:
    heard: list[Verdict] = []

    def hear(answer: Function) -> None:
        heard.append(EXERCISES[name].verdict(answer))

    try:
        with redirect_stdout(StringIO()):
            exec(source, {"check": SimpleNamespace(**{name: hear}), **EXERCISES[name].uses})
    except Exception as error:  # whatever an answer raises is its verdict
        return Verdict(False, f"The cell stopped with a {type(error).__name__}: {error}")
    return heard[-1] if heard else MISSING


def _apart(notebook: Path) -> dict[str, dict[str, str]]:
    """Grade in a process of its own, which may hang or crash; exercise → passed and text."""
    try:
        run = subprocess.run(
            [sys.executable, "-m", "lessons.grade", "--one", str(notebook.resolve())],
            capture_output=True, text=True, timeout=SECONDS, cwd=Path(__file__).parents[1],
        )  # fmt: skip
        return json.loads(run.stdout.splitlines()[-1])
    except (subprocess.TimeoutExpired, IndexError, ValueError):
        return {"": {"passed": "", "text": f"could not be graded within {SECONDS} s: look at it yourself"}}


def _rows(notebooks: Iterable[Path]) -> Iterable[tuple[str, str, str, str]]:
    for notebook in notebooks:
        for name, verdict in _apart(notebook).items():
            yield notebook.name, name, verdict["passed"], verdict["text"].replace("\n", " ")


def main(arguments: list[str]) -> None:
    """Write a table with a row for each copy and exercise: 1 where it passed, and what the check said."""
    if arguments[:1] == ["--one"]:
        verdicts = grade(Path(arguments[1]))
        print(json.dumps({n: {"passed": str(int(v.passed)), "text": v.text} for n, v in verdicts.items()}))
        return
    table = csv.writer(sys.stdout)
    table.writerow(("copy", "exercise", "passed", "what the check said"))
    table.writerows(_rows(map(Path, arguments)))


if __name__ == "__main__":
    main(sys.argv[1:])
