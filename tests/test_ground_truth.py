"""Measures with a known truth: each must put good, half-way, noisy and wrong pictures in the right order."""

import numpy as np
import pytest
from PIL import Image, ImageFilter

from gooddrag.metrics.ground_truth import feature_distance, psnr, score
from gooddrag.pocket.pose import fit_scene
from gooddrag.pocket.tasks import KnownTask, make_task, to_image
from gooddrag.pocket.world import RANGES, Scene, landmarks, render

NUMBERS = tuple(RANGES)


def between(known: KnownTask, share: float) -> Image.Image:
    """The picture on the way from source (0) to truth (1)."""
    values = {name: (1 - share) * getattr(known.before, name) + share * getattr(known.after, name) for name in NUMBERS}
    return to_image(render(known.before.changed(**values)).image)


def noisy(picture: Image.Image, strength: float = 25.0) -> Image.Image:
    noise = np.random.default_rng(0).normal(0, strength, (64, 64, 3))
    return Image.fromarray((np.asarray(picture) + noise).clip(0, 255).astype(np.uint8))


def melted(picture: Image.Image, known: KnownTask) -> Image.Image:
    """The masked area smeared beyond recognition."""
    smear = picture.filter(ImageFilter.GaussianBlur(2.5))
    return Image.composite(smear, picture, Image.fromarray(known.task.mask))


@pytest.mark.parametrize("kind", ["turn-head", "swing-ears", "open-mouth"])
def test_the_landmark_error_falls_as_the_picture_nears_the_truth(kind):
    known = make_task(kind, 5)
    source = fit_scene(known.task.image)
    wrong, start, half, end = (score(known, between(known, s), source).error_share for s in (-0.4, 0, 0.5, 1))
    assert end < 0.2 < half < 0.8 < start < wrong
    assert start == pytest.approx(1)


@pytest.mark.parametrize("kind", ["move", "swing-ears"])
def test_what_no_scene_explains_counts_as_broken(kind):
    known = make_task(kind, 6)
    pictures = (known.truth, melted(known.truth, known), noisy(known.truth))
    clean, smeared, grainy = (fit_scene(p).brokenness(known.task.mask) for p in pictures)
    assert clean < 3 < 6 < min(smeared, grainy)


def test_a_drawing_error_is_no_arrival():
    """A nose painted at the target, on a head that has not turned, is broken and has not arrived."""
    known = make_task("turn-head", 7)
    painted, (x0, y0), (x, y) = known.task.image.copy(), known.task.handles[0], known.task.targets[0]
    nose = painted.crop((round(x0) - 2, round(y0) - 2, round(x0) + 3, round(y0) + 3))
    painted.paste(nose, (round(x) - 2, round(y) - 2))
    result = score(known, painted)
    assert result.error_share > 0.6
    assert result.brokenness > result.source_brokenness + 2


@pytest.mark.parametrize("kind", ["move"])
def test_pictures_nearer_to_the_truth_have_more_psnr_and_less_feature_distance(kind):
    known = make_task(kind, 8)
    source = fit_scene(known.task.image)
    steps = [score(known, between(known, s), source) for s in (0, 0.5, 0.8)]
    gains = [s.edit_psnr - s.source_psnr for s in steps]
    distances = [s.edit_feature_distance for s in steps]
    assert gains[0] == pytest.approx(0)
    assert gains == sorted(gains)
    assert distances == sorted(distances, reverse=True)
    assert feature_distance(known.truth, known.truth) == 0
    assert feature_distance(noisy(known.truth), known.truth) > 0.02


def test_the_pose_is_read_to_a_fraction_of_a_pixel():
    errors = []
    for seed in range(8):
        known = make_task("move", 500 + seed)
        found = landmarks(fit_scene(known.truth).scene)
        errors += [np.hypot(*np.subtract(found[n][:2], landmarks(known.after)[n][:2])) for n in known.dragged]
    assert np.median(errors) < 0.15
    assert np.quantile(errors, 0.95) < 0.8


def test_psnr_of_known_differences():
    black, grey = np.zeros((4, 4, 3)), np.full((4, 4, 3), 25.5)
    assert psnr(black, grey) == pytest.approx(20)
    assert psnr(black, black) == float("inf")
    where = np.zeros((4, 4), bool)
    where[0] = True
    assert psnr(black, np.where(where[..., None], grey, 200), where) == pytest.approx(20)


def test_a_fit_of_a_scene_outside_the_world_stays_near_it():
    assert fit_scene(to_image(render(Scene(y=0.55)).image)).scene.y < RANGES["y"][1] + 0.2
