"""Paths, regions, suggested masks and candidates from the command line."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gooddrag.candidates import contact_sheet, variants
from gooddrag.errors import BadInput
from gooddrag.methods import FastDrag, GoodDrag, SdeDrag
from gooddrag.task import DragTask
from tests.test_cli import QUICK, _here, run, small_task

__all__ = ["_here", "run"]  # fixtures


@pytest.fixture
def photo():
    Image.new("RGB", (80, 60), "teal").save("p.png")
    return "p.png"


def test_a_drag_with_stops_becomes_a_path(run, photo):
    code, out, err = run("task", "new", photo, "--drag", "10,20:30,20:30,40", "--drag", "5,5:9,9", "--out", "bent")
    assert code == 0, err
    assert "by way of 1 stop(s)" in out
    task = DragTask.read("bent")
    assert [way.tolist() for way in task.ways] == [[[10, 20], [30, 20], [30, 40]], [[5, 5], [9, 9]]]


@pytest.mark.parametrize("region", ["10,10 30,10 30,30 10,30", "area.png"])
def test_a_region_moves_along(run, photo, region):
    area = np.zeros((60, 80), np.uint8)
    area[10:31, 10:31] = 255
    Image.fromarray(area).save("area.png")
    code, _, err = run("task", "new", photo, "--drag", "20,20:35,25", "--region", region, "--out", "moved")
    assert code == 0, err
    task = DragTask.read("moved")
    assert len(task.handles) > 4
    assert np.allclose(task.targets - task.handles, [15, 5])


@pytest.mark.parametrize("region", ["10,10 20,10", "10,10 20,10 nan,5", "corners", "40,40 50,40 50,50"])
def test_a_region_that_makes_no_sense_gets_one_sentence(run, photo, region):
    code, _, err = run("task", "new", photo, "--drag", "20,20:35,25", "--region", region, "--out", "moved")
    assert code == 2
    assert err.count("\n") == 1
    assert not Path("moved").exists()


def test_a_mask_is_suggested_and_written(run):
    picture = np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8)
    DragTask(picture, [(24, 30)], [(34, 30)]).write("task")
    code, out, err = run("task", "mask", "task")
    assert code == 0, err
    assert "may change" in out
    mask = DragTask.read("task").mask
    assert mask[30, 24]
    assert mask[30, 34]
    assert 0 < mask.mean() < 1


def test_candidates_lie_beside_each_other(run):
    code, out, err = run("edit", small_task(), "--out", "out", "--candidates", 2, *QUICK, "--set", "eta=1")
    assert code == 0, err
    assert {p.name for p in Path("out").iterdir()} == {"1", "2", "candidates.png"}
    one, two = (Path("out", k, "edited.png").read_bytes() for k in "12")
    assert one != two
    assert "candidates.png" in out
    assert run("edit", "--replay", "out/2", "--out", "again")[0] == 0
    assert Path("again/edited.png").read_bytes() == two


def test_candidates_of_several_strengths(run):
    code, _, err = run("edit", small_task(), "--out", "out", "--strengths", "0.6,0.8", *QUICK, "--set", "drags=1")
    assert code == 0, err
    assert Path("out/1/edited.png").read_bytes() != Path("out/2/edited.png").read_bytes()


def test_candidates_at_once_are_those_one_by_one(run):
    rest = ("--strengths", "0.7,0.85", *QUICK)
    code, _, err = run("edit", small_task(), "--out", "out", "--together", "--animate", "--frames", 2, *rest)
    assert code == 0, err
    assert "2 edits at once" in err
    assert {p.name for p in Path("out").iterdir()} == {"1", "2", "candidates.png"}
    assert (Path("out") / "2" / "animation.gif").is_file()
    run("edit", small_task(), "--out", "alone", *rest)
    for number in ("1", "2"):
        settings = [json.loads((Path(out) / number / "settings.json").read_text()) for out in ("out", "alone")]
        assert settings[0] == settings[1]


def test_candidates_that_would_all_be_the_same_are_refused(run):
    code, _, err = run("edit", small_task(), "--out", "out", "--candidates", 2, *QUICK, "--set", "eta=0")
    assert code == 2
    assert "nothing at random" in err
    assert not Path("out/1").exists()


@pytest.mark.parametrize("wrong", ["a", "0.7,", "2"])
def test_wrong_strengths_get_one_sentence(run, wrong):
    code, _, err = run("edit", small_task(), "--out", "out", "--strengths", wrong, *QUICK)
    assert code == 2
    assert err.splitlines()[-1].startswith("gooddrag: ")
    assert not Path("out/1").exists()


def test_variants_differ_in_seed_and_strength_only():
    task = DragTask.read(small_task())
    made = variants(GoodDrag(seed=5), task, 2, [0.7, 0.8])
    assert [(m.strength, m.seed) for m in made] == [(0.7, 5), (0.7, 6), (0.8, 5), (0.8, 6)]
    assert all(m == GoodDrag(seed=m.seed, strength=m.strength) for m in made)
    assert variants(GoodDrag(lora=None), task) == [GoodDrag(lora=None)]


def test_what_draws_at_random_and_what_does_not():
    picture = Image.new("RGB", (64, 64))
    bare, masked = (DragTask(picture, [(9, 9)], [(20, 20)], mask) for mask in (None, np.ones((64, 64), bool)))
    assert GoodDrag().draws(bare)
    assert not GoodDrag(lora=None).draws(masked)
    assert GoodDrag(lora=None, eta=0.5).draws(masked)
    assert not GoodDrag(lora=None, eta=0.5).draws(bare)  # noise is renewed inside a mask only
    assert SdeDrag(lora=None).draws(bare)
    assert not FastDrag().draws(masked)


def test_too_many_candidates_are_refused():
    with pytest.raises(BadInput, match="at most 64"):
        variants(GoodDrag(), DragTask.read(small_task()), 65)


def test_a_sheet_has_room_for_all():
    picture = Image.new("RGB", (90, 50), "teal")
    assert contact_sheet(picture, [("1", picture)] * 5).size == (4 * 256, 2 * 276)
