"""DAI: worked examples, both divisors, borders, and what it says of itself."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from gooddrag.errors import BadInput
from gooddrag.metrics.dai import RADII, dai
from gooddrag.task import DragTask


def plain(value, size=64):
    return Image.new("RGB", (size, size), (value,) * 3)


@pytest.mark.parametrize("radius", RADII)
def test_black_against_white_is_three_for_one_pair_and_half_of_that_officially_for_two(radius):
    one = dai(DragTask(plain(0), [[30, 30]], [[34, 30]]), plain(255), radius)
    two = dai(DragTask(plain(0), [[30, 30], [32, 32]], [[34, 30], [36, 32]]), plain(255), radius)
    assert (one.paper, one.official) == (pytest.approx(3), pytest.approx(3))
    assert (two.paper, two.official) == (pytest.approx(3), pytest.approx(1.5))


@given(st.integers(-12, 12), st.integers(-12, 12), st.sampled_from(RADII[:2]))
def test_a_picture_that_was_shifted_as_asked_has_no_error(dx, dy, radius):
    picture = np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8)
    task = DragTask(Image.fromarray(picture), [[30, 32]], [[30 + dx, 32 + dy]])
    shifted = Image.fromarray(np.roll(picture, (dy, dx), (0, 1)))
    assert dai(task, shifted, radius).paper == pytest.approx(0)
    if (dx, dy) != (0, 0):
        assert dai(task, task.image, radius).paper > 0.01


def test_patches_at_the_border_are_compared_where_both_exist():
    picture = np.zeros((32, 32, 3), np.uint8)
    picture[:, :2] = 255  # only the pixels left of the picture's second column differ
    task = DragTask(plain(0, 32), [[0, 10]], [[8, 10]])
    edited = Image.fromarray(picture)
    assert dai(task, edited, 5).paper == 0  # the patch at the target sees columns 8 … 13
    assert any("border" in doubt for doubt in dai(task, edited, 5).doubts)


def test_it_says_what_it_can_not_judge():
    still = DragTask(plain(0), [[20, 20], [30, 30]], [[20, 20], [36, 30]])
    assert any("zero length" in doubt for doubt in dai(still, plain(0)).doubts)
    turned = DragTask(plain(0), [[20, 20], [40, 20]], [[25, 15], [45, 25]])
    assert any("rotated" in doubt for doubt in dai(turned, plain(0)).doubts)
    assert dai(DragTask(plain(0), [[20, 20], [40, 20]], [[25, 20], [45, 20]]), plain(0)).doubts == ()


def test_other_sizes_and_radii_are_refused():
    task = DragTask(plain(0), [[20, 20]], [[30, 20]])
    with pytest.raises(BadInput, match="same size"):
        dai(task, plain(0, 32))
    with pytest.raises(BadInput, match="radius"):
        dai(task, plain(0), -1)
