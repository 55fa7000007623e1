"""What teachers use: copies without solutions that still run, marks for nbgrader, a grader for what is handed in."""

import json
import re
import sys
from pathlib import Path

import pytest

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"
sys.path.insert(0, str(NOTEBOOKS))
from lessons import EXERCISES, check  # noqa: E402 - the notebooks' own folder is where they import it from
from lessons.grade import grade, main  # noqa: E402
from lessons.handout import handout  # noqa: E402

LESSON = NOTEBOOKS / "01_diffusion_and_inversion.ipynb"
ASKED = ["ddim_step", "invert"]


def tags(cell):
    return cell["metadata"].get("tags", [])


def source(cell):
    return "".join(cell["source"])


def written(folder, book, name="copy.ipynb"):
    path = folder / name
    path.write_text(json.dumps(book))
    return path


def answered(answers):
    """The lesson's handout with these answers in their cells."""
    book = handout(LESSON)
    for cell in book["cells"]:
        for name in set(tags(cell)) & answers.keys():
            cell["source"] = answers[name]
    return book


def solutions():
    cells = json.loads(LESSON.read_text())["cells"]
    return {next(t for t in tags(c) if t in EXERCISES): source(c) for c in cells if "solution" in tags(c)}


def test_a_handout_has_no_solutions_and_doesnt_announce_them():
    text = json.dumps(handout(LESSON), ensure_ascii=False)
    for solution in solutions().values():
        assert json.dumps(solution, ensure_ascii=False)[1:-1] not in text
    assert "holds a solution" not in text


@pytest.mark.parametrize("path", sorted(NOTEBOOKS.glob("*.ipynb")), ids=lambda path: path.stem)
def test_a_handout_keeps_all_cells_and_asks_for_each_exercise(path):
    before, after = json.loads(path.read_text())["cells"], handout(path, nbgrader=True)["cells"]
    exercises = [next(t for t in tags(c) if t in EXERCISES) for c in before if "exercise" in tags(c)]
    marks = [c["metadata"]["nbgrader"] for c in after if "nbgrader" in c["metadata"]]

    assert len(after) == len(before) + len(exercises)
    assert [m["grade_id"] for m in marks if m["solution"]] == [name.replace("_", "-") for name in exercises]
    assert sum(m.get("points", 0) for m in marks) == len(exercises)
    assert len({c["id"] for c in after}) == len(after)


@pytest.mark.parametrize("path", sorted(NOTEBOOKS.glob("*.ipynb")), ids=lambda path: path.stem)
def test_where_a_solution_stood_it_stands_in_for_an_answer_that_fails(path, capsys):
    for cell in (c for c in handout(path)["cells"] if source(c).startswith("# So that the lesson goes on")):
        name, answer = re.search(r"check\.(\w+)\.verdict\((\w+)\)", source(cell)).groups()
        room = {"check": check, answer: lambda *_: None, **EXERCISES[name].uses}
        exec(source(cell), room)
        assert EXERCISES[name].verdict(room[answer]).passed
    assert capsys.readouterr().out == ""


def test_nbgraders_cell_fails_with_the_checks_own_words():
    cells = handout(LESSON, nbgrader=True)["cells"]
    test = next(c for c in cells if c["metadata"].get("nbgrader", {}).get("grade_id") == "ddim-step-test")
    with pytest.raises(AssertionError, match="Not yet"):
        exec(source(test), {"check": check, "my_ddim_step": lambda *_: ...})
    exec(source(test), {"check": check, "my_ddim_step": check.ddim_step.right})


def test_solved_copies_pass_and_unanswered_ones_dont(tmp_path):
    solved, empty = grade(written(tmp_path, answered(solutions()))), grade(LESSON)
    assert {name: v.passed for name, v in solved.items()} == dict.fromkeys(ASKED, True)
    assert {name: v.passed for name, v in empty.items()} == dict.fromkeys(ASKED, False)


def test_a_grade_is_not_to_be_had_by_printing_it(tmp_path):
    answers = {"ddim_step": 'print("Right.")', "invert": "1 / 0"}
    verdicts = grade(written(tmp_path, answered(answers)))
    assert not any(v.passed for v in verdicts.values())
    assert "not there" in verdicts["ddim_step"].text
    assert "ZeroDivisionError" in verdicts["invert"].text


def test_the_table_has_a_row_for_each_copy_and_exercise(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("lessons.grade.SECONDS", 120)
    copy, broken = written(tmp_path, answered(solutions())), written(tmp_path, [], "broken.ipynb")
    main([str(copy), str(broken)])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "copy,exercise,passed,what the check said"
    assert sorted(line.split(",")[:3] for line in lines[1:3]) == [["copy.ipynb", name, "1"] for name in ASKED]
    assert "look at it yourself" in lines[3]


def test_an_answer_that_never_ends_is_given_up(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("lessons.grade.SECONDS", 1)
    main([str(written(tmp_path, answered({"ddim_step": "while True: pass"})))])
    assert "could not be graded" in capsys.readouterr().out
