"""The pocket world: landmarks where the picture shows them, tasks whose truth is true, the same seed the same scene."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gooddrag.errors import BadInput
from gooddrag.pocket import EXAMPLES
from gooddrag.pocket.tasks import AMBIGUOUS, KINDS, KnownTask, make_task
from gooddrag.pocket.world import LANDMARKS, Scene, in_world, landmarks, render, sample_scene


def test_the_nose_is_dark_where_its_landmark_is():
    scene = Scene(species="bunny")
    picture = render(scene, 128)
    x, y, visible = landmarks(scene, 128)["nose"]
    assert visible
    assert picture.image[round(y), round(x)].max() < 0.35
    assert picture.names[picture.part[round(y), round(x)]] == "nose"


@given(st.integers(0, 10_000))
@settings(max_examples=25, deadline=None)
def test_a_visible_landmark_lies_on_its_own_part(seed):
    scene = sample_scene(np.random.default_rng(seed))
    picture = render(scene, 96, supersample=1)
    for name, (x, y, visible) in landmarks(scene, 96).items():
        column, row = round(x), round(y)
        if visible and 1 <= column < 95 and 1 <= row < 95:
            around = picture.part[row - 1 : row + 2, column - 1 : column + 2].ravel()
            assert LANDMARKS[name][0] in {picture.names[k] for k in around if k >= 0}


@pytest.mark.parametrize(
    ("change", "moves"),
    [({"x": 0.3}, (1, 0)), ({"y": 0.3}, (0, -1)), ({"yaw": 20.0}, (1, 0)), ({"pitch": 12.0}, (0, 1))],
)
def test_parameters_move_the_nose_as_they_say(change, moves):
    before, after = landmarks(Scene(y=0.1))["nose"], landmarks(Scene(**({"y": 0.1} | change)))["nose"]
    step = np.array(after[:2]) - before[:2]
    assert np.dot(step, moves) > 1.5
    assert abs(np.dot(step, moves[::-1])) < 1.0


def test_tilting_lifts_one_eye_and_lowers_the_other():
    flat, tilted = landmarks(Scene()), landmarks(Scene(roll=15))
    assert tilted["right eye"][1] > flat["right eye"][1] + 1  # clockwise: right goes down
    assert tilted["left eye"][1] < flat["left eye"][1] - 1


def test_the_world_is_its_own_mirror_image():
    scene = Scene(yaw=20, roll=7, x=0.3, light=-20)
    mirrored = scene.changed(yaw=-20.0, roll=-7.0, x=-0.3, light=20.0)
    assert np.abs(render(scene).image[:, ::-1] - render(mirrored).image).max() < 0.02


def test_the_same_seed_draws_the_same_bytes():
    pictures = [render(sample_scene(np.random.default_rng(5))).image.tobytes() for _ in range(2)]
    assert pictures[0] == pictures[1]


@pytest.mark.parametrize("kind", KINDS)
def test_a_task_is_well_posed_and_repeatable(kind):
    known, again = make_task(kind, 3), make_task(kind, 3)
    assert known.task.image.tobytes() == again.task.image.tobytes()
    assert np.array_equal(known.task.handles, again.task.handles)
    source, truth = np.asarray(known.task.image, int), np.asarray(known.truth, int)
    outside = ~known.task.mask
    assert np.abs(source - truth)[outside].max() <= 6
    assert np.abs(source - truth)[known.task.mask].max() > 30
    assert known.task.warnings() == []


def test_the_world_draws_only_what_it_calls_its_own():
    assert all(in_world(sample_scene(np.random.default_rng(k))) for k in range(50))
    assert not in_world(Scene(yaw=50))


def test_handles_and_targets_are_the_landmarks_of_both_pictures():
    known = make_task("turn-head", 4)
    for name, p0, g in zip(known.dragged, known.task.handles, known.task.targets, strict=True):
        assert np.allclose(p0, landmarks(known.before)[name][:2], atol=0.06)
        assert np.allclose(g, landmarks(known.after)[name][:2], atol=0.06)


def test_the_shipped_tasks_are_what_the_generator_makes():
    folders = sorted(p.parent for p in EXAMPLES.rglob("truth.json"))
    assert len(folders) == 3 * len(KINDS) + len(AMBIGUOUS)
    for folder in folders:
        shipped = KnownTask.read(folder)
        made = make_task(shipped.kind, shipped.seed)
        assert shipped.before == made.before
        assert shipped.after == made.after
        assert np.array_equal(shipped.task.handles, made.task.handles)
        for a, b in ((shipped.task.image, made.task.image), (shipped.truth, made.truth)):
            assert np.abs(np.asarray(a, int) - np.asarray(b, int)).max() <= 1


def test_a_task_without_a_truth_is_no_known_task(tmp_path):
    make_task("move", 0).task.write(tmp_path)
    with pytest.raises(BadInput, match="truth"):
        KnownTask.read(tmp_path)


@pytest.mark.parametrize("kind", AMBIGUOUS)
def test_ambiguous_tasks_lock_nothing_and_drag_one_point(kind):
    task = make_task(kind, 1).task
    assert task.mask is None
    assert len(task.handles) == 1


def test_an_unknown_kind_is_refused():
    with pytest.raises(BadInput, match="turn-head"):
        make_task("somersault", 0)
