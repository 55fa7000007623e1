"""Measures: known shifts, known pictures, and what each says where it can't be trusted or its weights are missing."""

import math
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter

from gooddrag.errors import BadInput
from gooddrag.measures import MEASURES, OFFLINE, Edited, check_measures, measure
from gooddrag.metrics import quality as quality_room
from gooddrag.metrics.drag_back import drag_back
from gooddrag.metrics.mean_distance import dift, mean_distance
from gooddrag.metrics.quality import iqa_metric, quality
from gooddrag.metrics.similarity import clip_similarity, image_fidelity, outside_change
from gooddrag.task import DragTask


def noise(seed: int = 0, size: tuple[int, int] = (64, 64)) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (*size[::-1], 3)).astype(np.uint8))


def smooth(size: tuple[int, int] = (64, 64)) -> Image.Image:
    return noise(3, size).filter(ImageFilter.GaussianBlur(3))


def shifted(picture: Image.Image, dx: int, dy: int) -> Image.Image:
    return Image.fromarray(np.roll(np.asarray(picture), (dy, dx), (0, 1)))


def pixels(picture: Image.Image) -> torch.Tensor:
    """The plainest features: the picture's own pixels, and a constant so that brightness counts."""
    x = torch.from_numpy(np.array(picture, np.float32)).permute(2, 0, 1)[None] / 255 - 0.5
    return torch.cat([x, torch.ones_like(x[:, :1])], 1)


# Mean distance


@pytest.mark.parametrize(("dx", "dy"), [(0, 0), (9, 0), (-4, 6)])
def test_the_mean_distance_is_what_a_known_shift_leaves_undone(dx, dy):
    task = DragTask(noise(), [[30, 32], [20, 40]], [[39, 32], [29, 40]])
    found = mean_distance(task, shifted(task.image, dx, dy), pixels)
    assert found.found.tolist() == [[30 + dx, 32 + dy], [20 + dx, 40 + dy]]
    assert found.mean == pytest.approx(math.hypot(9 - dx, dy))
    assert found.doubts == ()


def test_coarse_features_are_enlarged_to_the_pictures_pixels():
    """One lit cell of a 8 × 4 map on a picture of 64 × 32 px: its centre lies between pixels."""

    def cells(lit: tuple[int, int]):
        def features(picture: Image.Image) -> torch.Tensor:
            F = torch.zeros(1, 2, 4, 8)
            F[0, 0] = 1
            F[0, :, lit[1], lit[0]] = torch.tensor([0.0, 1.0])
            return F

        return features

    task = DragTask(noise(size=(64, 32)), [[19, 11]], [[44, 20]])
    maps = iter([cells((2, 1)), cells((5, 2))])
    found = mean_distance(task, task.image, lambda picture: next(maps)(picture))
    assert abs(found.found[0] - [43.5, 19.5]).max() <= 0.5


def test_diffusion_features_see_a_picture_as_most_like_itself(tiny):
    task = DragTask(noise(1), [[30, 32], [12, 50]], [[40, 32], [12, 40]])
    features = dift(tiny, copies=2)
    assert (mean_distance(task, task.image, features).each <= [11, 11]).all()
    again = dift(tiny, copies=2)
    dift(tiny, copies=2)(noise(5))  # what was measured before changes nothing
    assert torch.equal(features(task.image), again(task.image))


def test_pocket_features_find_the_landmarks_of_a_creature(pocket):
    from gooddrag.pocket.tasks import make_task

    features = dift(pocket, copies=2)
    known = [make_task("move", seed) for seed in (100, 101, 102)]
    still, there = (
        np.concatenate([mean_distance(k.task, p, features).each for k, p in zip(known, pictures, strict=True)])
        for pictures in ([k.task.image for k in known], [k.truth for k in known])
    )
    assert np.median(still) == pytest.approx(np.median(np.concatenate([k.task.distances for k in known])), abs=1)
    assert np.median(there) < 0.4 * np.median(still)


def test_features_leave_out_what_was_padded(tiny):
    assert dift(tiny, copies=1)(smooth((64, 64))).shape[2:] == (16, 16)
    wide = dift(tiny, copies=1)(smooth((90, 46)))
    assert wide.shape[3] / wide.shape[2] == pytest.approx(90 / 46, rel=0.1)


def test_it_says_what_it_can_not_judge():
    task = DragTask(noise(), [[30, 32], [20, 20]], [[30, 32], [25, 20]])
    assert "zero length" in mean_distance(task, task.image, pixels).doubts[0]
    assert "scaled" in mean_distance(task, noise(size=(32, 32)), pixels).doubts[1]


# What is left of the original


def test_only_what_changed_outside_the_mask_counts():
    mask = np.zeros((64, 64), bool)
    mask[:32] = True
    task = DragTask(noise(), [[30, 20]], [[30, 10]], mask)
    values = np.array(task.image)
    values[:32] = 0
    assert outside_change(task, Image.fromarray(values)) == 0
    below = np.array(task.image).astype(int)
    below[32:] += np.where(below[32:] < 128, 10, -10)
    assert outside_change(task, Image.fromarray(below.astype(np.uint8))) == pytest.approx(10)
    assert math.isnan(outside_change(task.with_mask(None), task.image))


def test_a_drag_that_does_nothing_comes_back_whole():
    task = DragTask(noise(), [[30, 20]], [[30, 10]])
    found = drag_back(task, task.image, lambda back: back.image)
    assert found.inside == 0
    assert math.isnan(found.outside)


def test_the_way_back_goes_from_the_targets_to_the_handles():
    task = DragTask(noise(), [[30, 20], [12, 40]], [[34, 17], [16, 37]])
    seen = []

    def shift(t: DragTask) -> Image.Image:
        seen.append(t)
        return shifted(t.image, *(t.targets - t.handles)[0].astype(int))

    edited = shift(task)
    assert drag_back(task, edited, shift).inside == 0
    assert (seen[1].handles == task.targets).all()
    assert (seen[1].targets == task.handles).all()
    assert drag_back(task, edited, lambda back: back.image).inside > 50
    with pytest.raises(BadInput, match="same size"):
        drag_back(task, noise(size=(32, 32)), shift)


# What needs other people's weights


@pytest.fixture
def pyiqa(monkeypatch):
    """A stand-in: LPIPS is the mean difference; the quality metrics are the mean brightness plus a random crop's."""
    calls = []

    def create_metric(name, device):
        calls.append(name)
        if name == "musiq":
            raise OSError("no route to host")
        if name == "lpips":
            return lambda x, reference: (x - reference).abs().mean()
        return lambda x: x.mean() + torch.rand(())

    monkeypatch.setitem(sys.modules, "pyiqa", SimpleNamespace(create_metric=create_metric))
    iqa_metric.cache_clear()
    yield calls
    iqa_metric.cache_clear()


def test_fidelity_is_one_minus_lpips_at_224_pixels(pyiqa):
    assert image_fidelity(noise(), noise()) == 1
    black, grey = Image.new("RGB", (90, 40)), Image.new("RGB", (90, 40), (51, 51, 51))
    assert image_fidelity(black, grey) == pytest.approx(0.8)
    assert pyiqa == ["lpips"]


def test_quality_is_the_same_each_time_and_leaves_other_chance_alone(pyiqa):
    torch.manual_seed(7)
    first = quality(noise(), "tres")
    after = torch.rand(())
    torch.manual_seed(7)
    assert torch.rand(()) == after
    assert quality(noise(), "tres") == first
    assert quality(noise(), "topiq") == first
    assert pyiqa == ["tres", "topiq_nr"]


def test_missing_weights_are_said_in_one_sentence_before_anything_is_done(pyiqa, monkeypatch):
    with pytest.raises(BadInput, match="'musiq' could not be loaded"):
        check_measures(["dai", "musiq"])
    monkeypatch.setitem(sys.modules, "pyiqa", None)
    iqa_metric.cache_clear()
    with pytest.raises(BadInput, match="gooddrag\\[iqa\\]"):
        check_measures(["tres"])
    with pytest.raises(BadInput, match="no measure 'beauty'"):
        check_measures(["beauty"])
    check_measures(OFFLINE)


def test_small_pictures_are_no_case_for_these_networks():
    assert quality_room.quality_doubts(noise())
    assert not quality_room.quality_doubts(noise(size=(256, 224)))


def test_clip_similarity_with_the_real_library(tmp_path):
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    config = CLIPVisionConfig(
        hidden_size=32, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2, image_size=32, patch_size=8
    )
    CLIPVisionModelWithProjection(config).save_pretrained(tmp_path / "clip")
    same, other = (clip_similarity(smooth(), p, str(tmp_path / "clip")) for p in (smooth(), noise(9)))
    assert same == pytest.approx(1, abs=1e-5)
    assert other < 0.999
    assert clip_similarity(smooth((90, 40)), smooth((90, 40)), str(tmp_path / "clip")) == pytest.approx(1, abs=1e-5)
    with pytest.raises(BadInput, match="hf download"):
        clip_similarity(noise(), noise(), str(tmp_path / "nothing"))


# All together


def test_measures_that_need_what_is_missing_are_passed_over_and_broken_ones_say_why():
    task = DragTask(noise(), [[30, 20]], [[30, 10]])
    numbers, doubts = measure(Edited(task, noise(size=(32, 32))), ["dai", "md", "truth", "outside"])
    assert set(numbers) == {*MEASURES["dai"].columns, "outside"}
    assert all(math.isnan(v) for v in numbers.values())
    assert doubts["dai"][0].startswith("not measured: The edited picture has 32×32 px")


def test_every_column_that_is_measured_has_a_title(tiny, quick, task):
    numbers, _ = measure(Edited(task, task.image, None, tiny, quick), ["dai", "md", "outside", "back"])
    titled = {column for name in ("dai", "md", "outside", "back") for column in MEASURES[name].columns}
    assert set(numbers) == titled
    assert numbers["outside"] == 0
