"""The failure clinic: each case fails and is cured as its card says, and can be made again from its seeds."""

import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1] / "notebooks"))
from lessons.cards import STAGES, CaseCards, after, before, change, plot
from lessons.cases import SIGNS, read_cases, seam, share_left
from lessons.clinic import diagnose
from lessons.make_clinic import RECIPES, make

CASES = read_cases()

each_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES)


def same(one, other):
    """Are two tasks the same, but for their names?"""
    everywhere = np.ones(one.size[::-1], bool)
    masks = [everywhere if task.mask is None else task.mask for task in (one, other)]
    pairs = (one.image, other.image), (one.handles, other.handles), (one.targets, other.targets), masks
    return all(np.array_equal(a, b) for a, b in pairs)


def test_there_is_a_case_for_each_recipe():
    assert list(CASES) == sorted(RECIPES)
    assert len(CASES) >= 8


@each_case
def test_the_failure_shows_and_the_cure_helps(case):
    failed, cured = case.signs
    assert failed >= case.better * cured


@each_case
def test_the_trace_says_what_the_card_promises(case):
    assert diagnose(*case.failed.curves) == case.says


@each_case
def test_the_tasks_come_from_their_seeds_alone(case):
    tasks = RECIPES[case.name].tasks()
    assert same(tasks.failed, case.failed.task)
    assert same(tasks.cured, case.cured.task)
    assert np.array_equal(tasks.truth, case.truth)


@each_case
def test_all_sides_of_a_card_are_drawn_and_told(case):
    for figure in (before(case), plot(case), after(case)):
        assert len(figure.alt_text.split()) >= 4
        assert figure.axes


@each_case
def test_both_numbers_of_a_card_have_their_unit(case):
    assert plot(case).alt_text.count(f" {SIGNS[case.sign].unit}") == 2


def test_the_widget_begins_each_patient_with_the_symptom():
    names = list(CASES)[:2]
    cards = CaseCards({name: CASES[name] for name in names})
    texts = []
    for stage in range(len(STAGES)):
        cards.stage.value = stage
        texts.append(cards.text)

    cards.case.value = names[1]

    assert len(set(texts)) == len(STAGES)
    assert cards.stage.value == 0
    assert cards.text == CASES[names[1]].symptom


def test_a_case_that_is_made_reads_as_it_was_made(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr("lessons.make_clinic.USUAL", {"steps": 8, "drags": 3, "lora": None})
    case = make("stops-early", tiny, tmp_path)

    assert same(case.failed.task, RECIPES["stops-early"].tasks().failed)
    assert case.failed.method.reach == 5
    assert len(case.failed.trace.drags) <= len(case.cured.trace.drags)
    assert list(read_cases(tmp_path)) == ["stops-early"]


def test_what_is_left_is_a_share_of_each_way():
    trace = CASES["too-few-drags"].failed.trace
    distance, _, allowed = CASES["too-few-drags"].failed.curves
    assert share_left(trace) == pytest.approx(distance[-1] / distance[0])
    assert len(distance) == allowed + 1


def test_a_seam_is_the_step_across_the_masks_border():
    picture = np.full((8, 8, 3), 100, np.uint8)
    mask = np.zeros((8, 8), bool)
    mask[2:6, 2:6] = True
    picture[mask] = 130

    assert seam(Image.fromarray(picture), mask) == 30
    assert seam(Image.fromarray(np.full((8, 8, 3), 9, np.uint8)), mask) == 0


def test_a_change_is_white_where_it_is_large():
    attempt = CASES["no-mask"].failed
    levels = np.asarray(change(attempt))
    difference = np.abs(np.asarray(attempt.picture, float) - np.asarray(attempt.task.image, float)).mean(-1)
    assert levels[difference == 0].max(initial=0) == 0
    assert levels[difference >= 64].min(initial=255) == 255
