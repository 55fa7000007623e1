"""Region drags: handles that tile an area and go where the task's drags carry it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gooddrag.editor import edit
from gooddrag.errors import BadInput
from gooddrag.methods import GoodDrag
from gooddrag.region import drag_region, polygon_area, similarity
from gooddrag.task import DragTask

PICTURE = np.zeros((60, 80, 3), np.uint8)


def box(left, top, right, bottom):
    area = np.zeros((60, 80), bool)
    area[top : bottom + 1, left : right + 1] = True
    return area


def test_one_drag_shifts_the_whole_area():
    task = drag_region(DragTask(PICTURE, [(20, 20)], [(35, 25)]), box(10, 10, 30, 30))
    assert 8 <= len(task.handles) <= 16
    assert np.allclose(task.targets - task.handles, [15, 5])
    area = box(10, 10, 30, 30)
    assert all(area[int(y), int(x)] for x, y in task.handles)
    assert task.handles[0].tolist() == [20, 20]  # the task's own come first


def test_two_drags_turn_it():
    task = drag_region(DragTask(PICTURE, [(30, 20), (30, 40)], [(40, 30), (20, 30)]), box(22, 16, 38, 44))
    centre = np.array([30.0, 30.0])
    turned = (task.handles - centre) @ np.array([[0, 1], [-1, 0]])  # a quarter turn
    assert np.allclose(task.targets, centre + turned)


def test_drags_outside_the_area_have_no_say_in_it():
    with_another = DragTask(PICTURE, [(20, 20), (70, 50)], [(30, 20), (70, 20)])
    task = drag_region(with_another, box(10, 10, 30, 30))
    assert np.allclose((task.targets - task.handles)[2:], [10, 0])


def test_an_area_follows_the_path_of_its_handle():
    bent = DragTask(PICTURE, [(20, 20)], [(40, 40)], via=[[(40, 20)]])
    task = drag_region(bent, box(14, 14, 26, 26))
    for way in task.ways:
        assert np.allclose(way - way[0], [(0, 0), (20, 0), (20, 20)])


def test_handles_that_would_leave_the_picture_are_left_out():
    task = drag_region(DragTask(PICTURE, [(20, 30)], [(76, 30)]), box(10, 20, 30, 40))
    assert 1 < len(task.handles)
    assert task.targets.max(0)[0] <= 79


@given(
    st.lists(st.tuples(st.floats(0, 79), st.floats(0, 59)), min_size=2, max_size=6, unique=True),
    st.floats(-3, 3), st.floats(0.3, 3), st.floats(-20, 20), st.floats(-20, 20),
)  # fmt: skip
def test_a_similarity_is_found_again(points, angle, scale, dx, dy):
    p = np.array(points)
    if np.ptp(p, axis=0).max() < 1:
        return
    turn = scale * np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    g = p @ turn + [dx, dy]
    assert np.allclose(similarity(p, g)(p), g, atol=1e-6)


def test_a_polygon_covers_its_inside_and_its_outline():
    area = polygon_area([(10, 10), (30, 10), (30, 20), (10, 20)], (80, 60))
    assert (area == box(10, 10, 30, 20)).all()


@pytest.mark.parametrize(
    ("area", "sentence"),
    [
        (box(50, 40, 60, 50), "No handle lies in the region"),
        (np.zeros((60, 80), bool), "No handle lies in the region"),
        (np.ones((8, 8), bool), "same size"),
    ],
)
def test_a_wrong_region_gets_one_sentence(area, sentence):
    with pytest.raises(BadInput, match=sentence):
        drag_region(DragTask(PICTURE, [(20, 20)], [(30, 20)]), area)


def test_two_corners_are_no_region():
    with pytest.raises(BadInput, match="at least three"):
        polygon_area([(1, 1), (5, 5)], (80, 60))


def test_a_region_can_be_dragged(tiny):
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3)).astype(np.uint8)
    area = np.zeros((64, 64), bool)
    area[20:40, 20:40] = True
    task = drag_region(DragTask(noise, [(30, 30)], [(40, 30)]), area)
    how = GoodDrag(drags=2, per_denoise=1, supervision_steps=1, lora=None, steps=10, strength=0.5)
    result = edit(tiny, task, how, use_cache=False)
    assert result.trace.table["point"].nunique() == len(task.handles) > 4
