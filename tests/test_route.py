"""Handles that go along a path: the stops they head for, and edits that follow a curve."""

import json
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gooddrag.editor import edit, iter_edit
from gooddrag.errors import BadInput
from gooddrag.methods import FreeDrag, GoodDrag
from gooddrag.metrics.drag_back import drag_back
from gooddrag.route import Route, simplified
from gooddrag.steps import Dragged
from gooddrag.supervision import Points
from gooddrag.task import DragTask

CORNER = [(24.0, 40.0)]


@pytest.fixture
def bent(task):
    """The first handle goes round a corner, the second straight."""
    return task.with_points(task.handles, task.targets, [CORNER, []])


def points_at(p, route, reach=2.0):
    p = torch.tensor(p)
    return Points(p, p, route.heading, (64, 64), reach)


def test_a_handle_heads_for_one_stop_after_the_other():
    route = Route.along([torch.tensor([[10.0, 0.0], [10.0, 10.0]]), torch.tensor([[5.0, 5.0]])])
    assert route.heading.tolist() == [[10, 0], [5, 5]]
    route, points = route.after(points_at([[9.0, 0.0], [0.0, 5.0]], route))
    assert points.g.tolist() == route.heading.tolist() == [[10, 10], [5, 5]]
    assert points.under_way.tolist() == [True, True]


def test_stops_that_lie_close_together_are_passed_at_once():
    route = Route.along([torch.tensor([[1.0, 0.0], [1.5, 0.0], [30.0, 0.0]])])
    _, points = route.after(points_at([[0.0, 0.0]], route))
    assert points.g.tolist() == [[30, 0]]


def test_with_a_step_ahead_a_stop_is_passed_before_it_is_reached_but_the_last_one_is_not():
    route = replace(Route.along([torch.tensor([[10.0, 0.0], [20.0, 0.0]])]), ahead=4.0)
    route, points = route.after(points_at([[7.0, 0.0]], route))
    assert points.g.tolist() == [[20, 0]]
    _, points = route.after(replace(points, p=torch.tensor([[17.0, 0.0]])))
    assert points.g.tolist() == [[20, 0]]
    assert points.under_way.all()


def test_long_ways_are_told_to_need_more_drags(task, bent):
    method = GoodDrag(drags=70, per_denoise=10)
    assert method.notes(task) == []
    (note,) = method.notes(bent)
    assert bent.detour == pytest.approx(2 * np.hypot(0, 10) / 12, abs=0.5)
    assert f"raise drags to about {int(np.ceil(70 * bent.detour))}" in note
    assert method.with_settings(drags=0).notes(bent) == []


def test_a_handle_at_its_last_stop_has_arrived():
    route = Route.along([torch.tensor([[10.0, 0.0], [20.0, 0.0]])])
    for x in (9.0, 19.0):
        route, points = route.after(points_at([[x, 0.0]], route))
    assert points.g.tolist() == [[20, 0]]
    assert not points.under_way.any()


def test_a_straight_way_is_the_target_alone(task):
    assert (np.stack(task.ways) == np.stack([task.handles, task.targets], 1)).all()
    route = Route.along([torch.tensor(way[1:]) for way in task.ways])
    assert route.straight
    assert route.heading.tolist() == task.targets.tolist()


@given(
    st.lists(st.tuples(st.floats(0, 63), st.floats(0, 63)), min_size=2, max_size=40),
    st.floats(0.1, 10),
)
def test_a_simplified_way_stays_near_the_drawn_one(way, tolerance):
    way = np.array(way)
    short = simplified(way, tolerance)
    assert short[0].tolist() == way[0].tolist()
    assert short[-1].tolist() == way[-1].tolist()
    for q in way:  # every point of the drawn way lies near some stretch of the short one
        nearest = min(_to_segment(q, a, b) for a, b in pairwise(short))
        assert nearest <= tolerance + 1e-6


def _to_segment(q, a, b):
    along = np.clip(np.dot(q - a, b - a) / max(np.dot(b - a, b - a), 1e-12), 0, 1)
    return np.linalg.norm(q - a - along * (b - a))


def test_a_line_of_many_points_becomes_two():
    line = np.stack([np.linspace(0, 50, 100), np.linspace(3, 9, 100)], 1)
    assert simplified(line, 0.5).tolist() == [line[0].tolist(), line[-1].tolist()]


def test_an_edit_goes_by_way_of_the_corner(tiny, bent, monkeypatch):
    """A tracker that finds every handle where it was pulled to: then the handle must walk the drawn way."""
    from gooddrag import loop
    from gooddrag.supervision import step_vector

    def obedient(F, f0, p, r2, grid):
        return edits[0].points.p + step_vector(edits[0].points, 4.0).round(), torch.zeros(len(p))

    edits = []
    plain = loop.GradientEdit._track
    monkeypatch.setattr(loop, "track_points", obedient)
    monkeypatch.setattr(loop.GradientEdit, "_track", lambda self, i: (edits.append(self), plain(self, i))[1])
    how = GoodDrag(drags=20, per_denoise=10, supervision_steps=1, lora=None, steps=10, strength=0.5, reach=1.0)
    steps = [s for s in iter_edit(tiny, bent, how, use_cache=False) if isinstance(s, Dragged)]
    walked = np.array([s.handles[0] for s in steps])
    assert np.linalg.norm(walked - np.array(CORNER[0]), axis=1).min() < 4.0  # β: it cuts the corner by less than a step
    assert np.linalg.norm(walked[-1] - bent.targets[0]) <= 1.0
    assert np.abs(walked[:2, 0] - bent.handles[0][0]).max() <= 1.0  # down first, not along the diagonal


def test_without_stops_an_edit_is_what_it_was(tiny, task):
    how = GoodDrag(drags=4, per_denoise=2, supervision_steps=1, lora=None, steps=10, strength=0.5)
    plain = edit(tiny, task, how, use_cache=False)
    same = edit(tiny, task.with_points(task.handles, task.targets, [[], []]), how, use_cache=False)
    assert plain.image.tobytes() == same.image.tobytes()


def test_a_round_trip_is_a_drag_though_it_ends_where_it_began(tiny, task):
    around = task.with_points([(24, 30)], [(24, 30)], [[(40, 30)]])
    how = GoodDrag(drags=2, per_denoise=2, supervision_steps=1, lora=None, steps=10, strength=0.5)
    assert any(isinstance(s, Dragged) for s in iter_edit(tiny, around, how, use_cache=False))


def test_methods_that_drag_straight_refuse_paths(tiny, bent):
    with pytest.raises(BadInput, match="FreeDrag drags straight"):
        edit(tiny, bent, FreeDrag(lora=None))


def test_a_task_folder_keeps_its_paths(bent, tmp_path):
    bent.write(tmp_path / "bent")
    again = DragTask.read(tmp_path / "bent")
    assert [stops.tolist() for stops in again.via] == [[list(CORNER[0])], []]
    assert json.loads((tmp_path / "bent/points.json").read_text())["via"] == [[[24, 40]], []]


def test_straight_tasks_are_written_as_before(task, tmp_path):
    task.write(tmp_path / "straight")
    assert list(json.loads((tmp_path / "straight/points.json").read_text())) == ["points"]


def test_a_drawing_shows_the_path(bent, task):
    assert bent.draw().tobytes() != task.draw().tobytes()


def test_the_way_back_takes_the_stops_in_reverse(bent):
    asked = []
    drag_back(bent, bent.image, lambda back: (asked.append(back), bent.image)[1])
    assert [way.tolist() for way in asked[0].ways] == [way[::-1].tolist() for way in bent.ways]


@pytest.mark.parametrize(
    ("via", "sentence"),
    [
        ([CORNER], "2 drags but 'via' has 1"),
        ([[(24, 99)], []], "stop .* lies outside"),
        ([["left"], []], "stops are not a list"),
        ([[(1, 1)] * 901, []], "too many"),
        ([[(float("nan"), 1)], []], "NaN"),
    ],
)
def test_wrong_paths_get_one_sentence(task, via, sentence):
    with pytest.raises(BadInput, match=sentence):
        task.with_points(task.handles, task.targets, via)


@pytest.mark.parametrize("via", ["[1, 2]", '"left"', "{}", "[[[1, 2], [3]], []]"])
def test_wrong_paths_in_a_file_get_one_sentence(bent, tmp_path, via):
    bent.write(tmp_path / "t")
    points = json.dumps([[24, 30], [34, 30], [10, 10], [20, 20]])
    (tmp_path / "t/points.json").write_text(f'{{"points": {points}, "via": {via}}}')
    with pytest.raises(BadInput):
        DragTask.read(tmp_path / "t")


def test_only_a_straight_drag_to_its_own_handle_is_warned_of(task):
    still = task.with_points([(24, 30), (40, 28)], [(24, 30), (40, 40)])
    around = task.with_points([(24, 30), (40, 28)], [(24, 30), (40, 40)], [[(40, 30)], []])
    assert any("won't be dragged" in note for note in still.warnings())
    assert not any("won't be dragged" in note for note in around.warnings())
