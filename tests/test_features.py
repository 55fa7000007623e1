"""Coordinates and patch sampling, against the full-size enlarged map that we never build."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import interpolate

from gooddrag.features import Frame, sample_cells, sample_patch, window
from gooddrag.tracking import track_points

SD, POCKET = {"latent_scale": 8, "multiple": 8}, {"latent_scale": 4, "multiple": 4, "working_side": 64}


@given(st.integers(2, 9), st.integers(2, 9), st.integers(0, 2**31 - 1))
@settings(max_examples=40, deadline=None)
def test_sampling_cells_reads_the_enlarged_map(h, w, seed):
    generator = torch.Generator().manual_seed(seed)
    F = torch.randn(1, 3, h, w, generator=generator, dtype=torch.float64)
    enlarged = interpolate(F, (4 * h, 4 * w), mode="bilinear", align_corners=False)
    x, y = torch.randint(4 * w, (5,), generator=generator), torch.randint(4 * h, (5,), generator=generator)
    ours = sample_cells(F, torch.stack([x, y], 1).float(), (4 * w, 4 * h))
    torch.testing.assert_close(ours, enlarged[0, :, y, x].T, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("centre", [(20.0, 17.0), (20.25, 17.5), (11.9, 30.01)])
def test_a_patch_is_the_blend_of_four_integer_windows(centre):
    F = torch.randn(1, 3, 12, 12, dtype=torch.float64)
    enlarged = interpolate(F, (48, 48), mode="bilinear", align_corners=False)[0]
    (x, y), r = centre, 3
    c, r0, fx, fy = int(x), int(y), x - int(x), y - int(y)

    def shifted(dy, dx):
        return enlarged[:, r0 - r + dy : r0 + r + 1 + dy, c - r + dx : c + r + 1 + dx]

    expected = (1 - fy) * ((1 - fx) * shifted(0, 0) + fx * shifted(0, 1)) + fy * (
        (1 - fx) * shifted(1, 0) + fx * shifted(1, 1)
    )
    ours = sample_patch(F, torch.tensor([centre]), r, (48, 48))[0].permute(2, 0, 1)
    torch.testing.assert_close(ours, expected, atol=1e-5, rtol=1e-5)


def test_a_window_is_in_reading_order():
    offsets = window(1).reshape(-1, 2).tolist()
    assert offsets[:4] == [[-1, -1], [0, -1], [1, -1], [-1, 0]]


@pytest.mark.parametrize(
    ("point", "cell"), [((147, 67), (74, 34)), ((67, 147), (34, 74)), ((10, 65), (5, 32)), ((511, 511), (255, 255))]
)
def test_official_points_map_to_cells_rounding_halves_to_even(point, cell):
    frame = Frame.fit((512, 512), **SD, official=True)
    assert frame.to_cells(np.array([point], float)).tolist() == [list(map(float, cell))]


def test_the_official_grid_drops_what_does_not_fit():
    assert Frame.fit((512, 909), **SD, official=True).grid == (256, 454)


@given(st.integers(16, 1200), st.integers(16, 1200), st.sampled_from(["sd", "pocket"]), st.data())
@settings(max_examples=60, deadline=None)
def test_points_survive_the_way_to_cells_and_back(width, height, engine, data):
    frame = Frame.fit((width, height), **(SD if engine == "sd" else POCKET))
    point = np.array([[data.draw(st.floats(0, width - 1)), data.draw(st.floats(0, height - 1))]])
    cells = frame.to_cells(point)
    back = frame.to_pixels(cells)
    assert (cells >= 0).all()
    assert (cells < torch.tensor(frame.grid)).all()
    assert np.abs(back - point).max() <= max(frame.pixels_per_cell) / 2 + 1e-6


@given(st.integers(16, 700), st.integers(16, 700))
@settings(max_examples=25, deadline=None)
def test_a_picture_keeps_its_size_through_the_frame(width, height):
    from PIL import Image

    image = Image.new("RGB", (width, height), (10, 200, 30))
    for engine in (SD, POCKET):
        frame = Frame.fit(image.size, **engine)
        x = frame.to_tensor(image)
        assert (x.shape[3], x.shape[2]) == frame.padded
        back = frame.to_image(x)
        assert back.size == image.size
        assert np.abs(np.asarray(back, int) - np.asarray(image, int)).max() <= 1


def test_a_mask_becomes_the_editable_share_of_each_latent_cell():
    mask = np.zeros((64, 64), bool)
    mask[:4, :2] = True
    mask[8:16, 8:16] = True
    M = Frame.fit((64, 64), **POCKET).to_latent_mask(mask, (16, 16))[0, 0]
    assert M[0, 0] == 0.5
    assert (M[2:4, 2:4] == 1).all()
    assert M.sum() == 4.5


def textured(h=16, w=16, channels=8, seed=0):
    return torch.randn(1, channels, h, w, generator=torch.Generator().manual_seed(seed))


@given(st.integers(-3, 3), st.integers(-3, 3))
@settings(max_examples=30, deadline=None)
def test_tracking_finds_a_known_shift(dx, dy):
    F = textured()
    moved = torch.roll(F, (dy, dx), (2, 3))
    p0 = torch.tensor([[30.0, 34.0], [26.0, 22.0]])
    f0 = sample_cells(F, p0, (64, 64))
    p, drift = track_points(moved, f0, p0, r2=12, grid=(64, 64))
    assert p.tolist() == (p0 + torch.tensor([4.0 * dx, 4.0 * dy])).tolist()
    assert drift.max() < 1e-5


def test_tracking_takes_the_first_of_equals_in_reading_order():
    flat = torch.zeros(1, 2, 16, 16)
    p, _ = track_points(flat, torch.zeros(1, 2), torch.tensor([[30.0, 30.0]]), r2=5, grid=(64, 64))
    assert p.tolist() == [[25.0, 25.0]]


def test_tracking_does_not_leave_the_map():
    flat = torch.zeros(1, 2, 16, 16)
    p, _ = track_points(flat, torch.zeros(1, 2), torch.tensor([[2.0, 1.0]]), r2=5, grid=(64, 64))
    assert p.tolist() == [[0.0, 0.0]]
