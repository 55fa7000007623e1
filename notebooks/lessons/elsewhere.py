"""Runs the lessons with another engine than pocket, and says which cells fail. From `notebooks/`:

python -m lessons.elsewhere ~/models/stable-diffusion-v1-5        # a diffusers folder, or sd15, sd21, sdxl
python -m lessons.elsewhere sd15 04_motion_supervision 06_gooddrag_end_to_end

The notebooks themselves stay as they are; what they print then is about clay creatures seen by another engine, so only
errors count. Lesson 10 is left out: its patients belong to pocket.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import nbformat
from nbclient import NotebookClient

NOTEBOOKS = Path(__file__).parents[1]
OWN = 'BACKBONE = "pocket"'


def lessons() -> list[str]:
    """The names of the notebooks that say which engine they use."""
    found = (path for path in sorted(NOTEBOOKS.glob("[0-9]*.ipynb")) if OWN.replace('"', '\\"') in path.read_text())
    return [path.stem for path in found]


def failures(name: str, backbone: str, seconds: int = 3600) -> Iterator[str]:
    """Run a lesson; yields a line for each cell that raised an error. No cell may take longer than `seconds`."""
    notebook = nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)
    for cell in notebook.cells:
        cell.source = cell.source.replace(OWN, f"BACKBONE = {backbone!r}")
    where = {"metadata": {"path": str(NOTEBOOKS)}}
    NotebookClient(notebook, timeout=seconds, allow_errors=True, resources=where).execute()
    for number, cell in enumerate(notebook.cells):
        for output in cell.get("outputs", []):
            if output["output_type"] == "error":
                yield f"cell {number}: {output['ename']}: {output['evalue']}"


def main() -> None:
    """Run them one after the other; exits with 1 where any cell failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("backbone")
    parser.add_argument("lessons", nargs="*", help="names without .ipynb; default: all")
    chosen = parser.parse_args()
    folder = Path(chosen.backbone).expanduser()
    backbone = str(folder.resolve()) if folder.exists() else chosen.backbone
    failed = False
    for name in chosen.lessons or lessons():
        began = time.perf_counter()
        lines = list(failures(name, backbone))
        failed |= bool(lines)
        print(f"{name}: {'all cells ran' if not lines else 'failed'} ({time.perf_counter() - began:.0f} s)", flush=True)
        print(*(f"  {line}" for line in lines), sep="\n", end="\n" if lines else "", flush=True)
    sys.exit(failed)


if __name__ == "__main__":
    main()
