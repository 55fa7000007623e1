"""Kinds of drags on pocket's world: the tasks that are compared, those that ship, and the edits themselves."""

from itertools import pairwise

import numpy as np
import pytest
from PIL import Image

from gooddrag.bench.drag_kinds import HOP, KINDS, Outcome, differences
from gooddrag.editor import iter_edit
from gooddrag.methods import GoodDrag
from gooddrag.metrics.ground_truth import score
from gooddrag.pocket import EXAMPLES
from gooddrag.pocket.world import render
from gooddrag.steps import Dragged
from gooddrag.task import DragTask


@pytest.fixture(params=KINDS)
def pair(request, pocket):
    return KINDS[request.param](pocket, 3)


def test_both_tasks_of_a_pair_ask_for_the_same_result(pair):
    assert pair.plain.image.tobytes() == pair.new.image.tobytes()
    assert np.allclose(pair.plain.handles[0], pair.new.handles[0])
    assert np.allclose(pair.plain.targets[0], pair.new.targets[0])


def test_a_hop_goes_up_and_comes_down(pocket):
    new = KINDS["path"](pocket, 3).new
    for way in new.ways:
        straight = np.linspace(way[0], way[-1], len(way))
        above = straight[:, 1] - way[:, 1]
        assert above[1:-1].min() > 0
        assert above.max() == pytest.approx(HOP, abs=0.5)


def test_a_region_holds_the_creature_and_nothing_else(pocket):
    pair = KINDS["region"](pocket, 3)
    creature = render(pair.known.before, 64).part >= 0
    x, y = pair.new.handles.round().astype(int).T
    assert creature[y, x].all()
    assert len(pair.new.handles) > 6
    assert np.allclose(pair.new.targets - pair.new.handles, pair.plain.targets - pair.plain.handles)


def test_differences_are_new_minus_plain(pair):
    nearly = Image.fromarray(np.asarray(pair.known.truth) // 2 * 2)
    untouched, truth = score(pair.known, pair.known.task.image), score(pair.known, nearly)
    pictures = (pair.known.task.image, nearly)
    found = differences([Outcome("a", pair, pictures, (untouched, truth))] * 3)
    left, _, gained = (float(found.loc["a"].iloc[k].split()[0]) for k in range(3))
    assert left == pytest.approx(truth.error_share - untouched.error_share, abs=0.01)
    assert left < -0.8  # the truth has arrived
    assert gained > 0


@pytest.mark.parametrize("kind", KINDS)
def test_a_task_of_each_kind_ships(kind):
    task = DragTask.read(EXAMPLES / "kinds" / kind)
    assert (EXAMPLES / "kinds" / kind / "truth.png").is_file()
    assert bool(task.via) == (kind == "path")
    assert (len(task.handles) > 6) == (kind == "region")
    assert task.mask is not None


def test_pockets_handles_follow_the_path(pocket):
    """On the shipped task: while they are dragged, handles keep nearer to the drawn arc than to the straight line."""
    task = DragTask.read(EXAMPLES / "kinds" / "path")
    steps = [s for s in iter_edit(pocket, task, GoodDrag.fast()) if isinstance(s, Dragged)]
    off_arc, off_line = [], []
    for way, walked in zip(task.ways, np.stack([s.handles for s in steps], 1), strict=True):
        for q in walked:
            off_arc.append(_from(q, way))
            off_line.append(_from(q, way[[0, -1]]))
    assert np.mean(off_arc) < np.mean(off_line)


def _from(q, way):
    """Distance of a point to a polyline."""
    shares = np.linspace(0, 1, 50)[:, None]
    points = np.concatenate([a + shares * (b - a) for a, b in pairwise(way)])
    return np.linalg.norm(points - q, axis=1).min()
