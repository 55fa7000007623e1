"""Exercises: no answer gets a hint, the committed solution passes, each usual mistake is named; notebooks hold them."""

import json
import sys
from pathlib import Path

import pytest
import torch

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"
sys.path.insert(0, str(NOTEBOOKS))
from lessons import EXERCISES, LESSONS, check  # noqa: E402 - the notebooks' own folder is where they import it from
from lessons.exercise import wrapped  # noqa: E402

MISTAKES = [(name, hint) for name, exercise in EXERCISES.items() for hint in exercise.mistakes]


def cells(tag):
    """(exercise, source) of the notebooks' cells with a tag; their second tag is the exercise's name."""
    for path in sorted(NOTEBOOKS.glob("*.ipynb")):
        for cell in json.loads(path.read_text())["cells"]:
            tags = cell["metadata"].get("tags", [])
            if tag in tags:
                yield next(t for t in tags if t in EXERCISES), "".join(cell["source"])


def run(name, source, capsys):
    exec(source, {"check": check, **EXERCISES[name].uses})
    return capsys.readouterr().out


def test_no_two_lessons_give_an_exercise_the_same_name():
    assert len(EXERCISES) == sum(len(lesson.EXERCISES) for lesson in LESSONS)


def test_every_exercise_stands_in_a_notebook_with_its_solution():
    assert sorted(name for name, _ in cells("exercise")) == sorted(EXERCISES)
    assert sorted(name for name, _ in cells("solution")) == sorted(EXERCISES)


@pytest.mark.parametrize(("name", "source"), cells("exercise"))
def test_an_unanswered_exercise_gets_a_hint_and_no_error(name, source, capsys):
    said = run(name, source, capsys)
    assert said == wrapped(f"Not yet – replace the dots.\nHint: {EXERCISES[name].hints[0]}") + "\n"


@pytest.mark.parametrize(("name", "source"), cells("solution"))
def test_the_solution_passes(name, source, capsys):
    assert run(name, source, capsys).startswith("Right.")


@pytest.mark.parametrize(("name", "hint"), MISTAKES)
def test_each_usual_mistake_is_named(name, hint):
    exercise = EXERCISES[name]
    verdict = exercise.verdict(exercise.mistakes[hint])
    assert not verdict.passed
    assert verdict.text == f"Almost. {hint}"


@pytest.mark.parametrize("name", EXERCISES)
def test_whatever_a_check_prints_is_broken_between_words(name):
    exercise = EXERCISES[name]
    for text in (*exercise.hints, *exercise.mistakes, exercise.praise):
        said = wrapped(f"Not yet.\nHint: {text}")
        assert max(map(len, said.splitlines())) <= 88
        assert said.startswith("Not yet.\nHint: ")
        assert said.split() == f"Not yet. Hint: {text}".split()


@pytest.mark.parametrize("name", EXERCISES)
def test_an_exercise_names_three_mistakes_at_least_and_survives_nonsense(name):
    exercise = EXERCISES[name]
    assert len(exercise.mistakes) >= 3
    assert exercise.verdict(lambda *_: torch.zeros(1)).text.startswith("Not the right numbers.")
    assert "ZeroDivisionError" in exercise.verdict(lambda *_: 1 / 0).text
    assert exercise.verdict(lambda *_: None).text.startswith("Not yet")


@pytest.mark.parametrize(
    ("name", "answer", "said"),
    [
        ("ddim_step", lambda z, *_: (z, z), "What comes out is a tuple; wanted is the shape (1, 4, 3, 3)."),
        ("ddim_step", lambda z, *_: z[0], "What comes out has the shape (4, 3, 3); wanted is the shape (1, 4, 3, 3)."),
        ("standard_loss", lambda F, *_: F.abs(), "A loss is one number; yours has the shape (1, 5, 6, 8)."),
        ("standard_loss", lambda F, *_: F.sum().item(), "no .item() and no float()"),
        ("alternate", lambda *_: [], "Your first schedule has 0 steps; it should have 11."),
    ],
)
def test_an_answer_of_the_wrong_kind_or_shape_is_told_so(name, answer, said):
    verdict = EXERCISES[name].verdict(answer)
    assert verdict.text.startswith("Not the right numbers.")
    assert said in verdict.text
