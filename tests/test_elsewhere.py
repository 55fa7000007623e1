"""The lessons on another engine: the command finds those that can, changes the engine, and tells what failed."""

import sys
from pathlib import Path

import nbformat

sys.path.insert(0, str(Path(__file__).parents[1] / "notebooks"))
from lessons import elsewhere


def test_all_lessons_but_the_clinic_let_one_choose_the_engine():
    assert elsewhere.lessons() == [
        path.stem for path in sorted(elsewhere.NOTEBOOKS.glob("[0-9]*.ipynb")) if not path.stem.startswith("10")
    ]


def test_a_lesson_runs_with_the_engine_that_was_asked_for(tmp_path, monkeypatch):
    cells = ['BACKBONE = "pocket"  # or another', "assert BACKBONE == 'elsewhere', BACKBONE", "1 / 0", "x = 1"]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in cells])
    nbformat.write(notebook, tmp_path / "00_small.ipynb")
    before = (tmp_path / "00_small.ipynb").read_bytes()
    monkeypatch.setattr(elsewhere, "NOTEBOOKS", tmp_path)
    assert elsewhere.lessons() == ["00_small"]
    assert list(elsewhere.failures("00_small", "elsewhere")) == ["cell 2: ZeroDivisionError: division by zero"]
    assert (tmp_path / "00_small.ipynb").read_bytes() == before
