"""The drag canvas in Python: what its traits take and refuse, how they travel, and what it makes of them."""

import base64
import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from PIL import Image

from gooddrag.errors import BadInput
from gooddrag.task import DragTask
from widgets import DragCanvas
from widgets.drag_canvas.wire import decode_mask, decode_picture, encode_mask, encode_picture

masks = arrays(bool, array_shapes(min_dims=2, max_dims=2, max_side=40))
coordinates = st.floats(0, 63, allow_nan=False)
pairs_of_points = st.lists(st.tuples(coordinates, coordinates, coordinates, coordinates), max_size=8)


def picture(width=64, height=48):
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3)).astype(np.uint8))


def file_of(image, kind="PNG", **how):
    out = io.BytesIO()
    image.save(out, kind, **how)
    return out.getvalue()


@pytest.fixture
def canvas():
    return DragCanvas(picture(), points=[[10, 10], [20, 10]])


@given(masks)
def test_a_mask_comes_back_from_its_bytes(mask):
    assert np.array_equal(decode_mask(encode_mask(mask)), mask)


@given(masks)
def test_a_mask_takes_no_more_than_a_bit_per_pixel(mask):
    assert len(encode_mask(mask)) <= 9 + (mask.size + 7) // 8


def test_the_mask_of_a_large_photo_travels_in_a_few_kilobytes():
    y, x = np.mgrid[:3000, :4000]
    mask = (x - 2000) ** 2 + (y - 1500) ** 2 < 1000**2

    assert len(encode_mask(mask)) < 10_000
    assert np.array_equal(decode_mask(encode_mask(mask)), mask)


@given(st.binary(max_size=60))
def test_bytes_that_are_no_mask_are_refused(data):
    try:
        mask = decode_mask(data)
    except BadInput:
        return
    assert np.array_equal(decode_mask(encode_mask(mask)), mask)


def test_a_head_that_promises_too_much_is_refused_before_memory_is_taken():
    with pytest.raises(BadInput, match="damaged"):
        decode_mask(b"\x01\x00\x00\x10\x00\x00\x00\x10\x00" + b"\x80\x80\x80\x80\x80\x20")  # 2⁴⁰ pixels in one run
    with pytest.raises(BadInput, match="damaged"):
        decode_mask(b"\x01\x10\x00\x00\x00\x10\x00\x00\x00" + b"\x80" * 9 + b"\x01")


@settings(deadline=None, max_examples=50)
@given(arrays(bool, (48, 64)), pairs_of_points)
def test_the_state_comes_back_over_the_wire(mask, quads):
    sent = DragCanvas(picture(), mask=mask, points=[p for q in quads for p in (q[:2], q[2:])])
    received = DragCanvas(picture())

    received.set_state(sent.get_state(["mask", "points", "mode", "brush", "feather", "selected"]))

    assert np.array_equal(received.mask, sent.mask)
    assert received.points == sent.points


def test_a_small_picture_travels_without_loss_and_a_large_one_small():
    small, large = picture(), Image.effect_noise((2000, 1500), 20).convert("RGB")

    assert np.array_equal(decode_picture(encode_picture(small)), small)
    assert len(encode_picture(large)) < 5_000_000
    assert np.abs(np.asarray(decode_picture(encode_picture(large)), int) - np.asarray(large, int)).mean() < 3


@pytest.mark.parametrize("how", ["task", "folder", "picture", "path", "array", "nothing"])
def test_a_canvas_starts_with_whatever_holds_a_picture(how, task, tmp_path):
    task.write(tmp_path / "my-task")
    picture_file = tmp_path / "my-task" / "original.png"
    start = {
        "task": task,
        "folder": tmp_path / "my-task",
        "picture": task.image,
        "path": str(picture_file),
        "array": np.asarray(task.image),
        "nothing": None,
    }[how]

    canvas = DragCanvas(start)

    assert (canvas.image is None) == (how == "nothing")
    if how != "nothing":
        assert np.array_equal(canvas.image, task.image)
    assert len(canvas.points) == (2 * len(task.handles) if how in ("task", "folder") else 0)


def test_the_task_is_what_the_canvas_shows(canvas):
    canvas.mask = np.ones((48, 64), bool)
    canvas.name, canvas.prompt = "hop", "a creature"

    task = canvas.task

    assert task.handles.tolist() == [[10, 10]]
    assert task.targets.tolist() == [[20, 10]]
    assert task.mask.all()
    assert (task.name, task.prompt) == ("hop", "a creature")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"image": None}, "no picture yet"),
        ({"points": []}, "no points"),
        ({"mask": np.zeros((48, 64), bool)}, "empty, so nothing may change"),
        ({"points": [[10, 10], [200, 10]]}, "outside the picture"),
    ],
)
def test_what_is_no_task_says_why(canvas, change, sentence):
    for name, value in change.items():
        setattr(canvas, name, value)

    with pytest.raises(BadInput, match=sentence):
        _ = canvas.task
    assert sentence in canvas.warnings()[0]


def test_a_handle_outside_the_mask_is_warned_of(canvas):
    mask = np.zeros((48, 64), bool)
    mask[30:, 30:] = True
    canvas.mask = mask

    assert any("outside the mask" in warning for warning in canvas.warnings())


def test_a_folder_is_saved_and_loaded(canvas, tmp_path):
    canvas.mask = np.tri(48, 64, dtype=bool)
    canvas.save(tmp_path / "hop")

    other = DragCanvas()
    other.load(tmp_path / "hop")

    assert np.array_equal(other.image, canvas.image)
    assert np.array_equal(other.mask, canvas.mask)
    assert other.points == canvas.points
    assert other.name == "hop"


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("points", [[1, 2]], "one handle lacks a target"),
        ("points", [[1, 2], [3]], "not a list"),
        ("points", [[1, 2], [3, float("nan")]], "not a list"),
        ("points", "12", "not a list"),
        ("points", [[0, 0], [1, 1]] * 101, "at most 100"),
        ("via", [[[1, 2]], []], "1 arrow\\(s\\) but 2 path\\(s\\)"),
        ("via", [[[1, 2, 3]]], "paths are not a list"),
        ("via", 3, "paths are not a list"),
        ("via", [[[1, 2]] * 901], "at most 900"),
        ("mask", np.ones((3, 3), bool), "make them the same size"),
        ("mask", "no-such-file.png", "There is no picture"),
        ("image", "no-such-file.png", "There is no picture"),
        ("image", 3, "give a picture"),
        ("image", np.zeros((4, 4, 3), np.uint8), "too small"),
        ("preview", np.zeros((48, 64), np.uint8), "must have the shape"),
        ("trails", [[[1, 2, 3]]], "not a list of paths"),
        ("trails", 3, "not a list of paths"),
    ],
)
def test_values_that_make_no_sense_are_refused_in_a_sentence(canvas, name, value, sentence):
    before = getattr(canvas, name)

    with pytest.raises(BadInput, match=sentence):
        setattr(canvas, name, value)
    assert getattr(canvas, name) is before


@pytest.fixture
def winding():
    """Three arrows, the first and the last along a path."""
    points = [[10, 10], [20, 10], [30, 5], [40, 5], [50, 40], [10, 40]]
    return DragCanvas(picture(), via=[[[12, 14], [17, 14]], [], [[30, 46]]], points=points)


def test_a_path_is_part_of_the_task_that_is_shown_and_saved(winding, tmp_path):
    winding.save(tmp_path / "hop")
    other = DragCanvas(tmp_path / "hop")

    assert [way.tolist() for way in winding.task.ways] == [
        [[10, 10], [12, 14], [17, 14], [20, 10]],
        [[30, 5], [40, 5]],
        [[50, 40], [30, 46], [10, 40]],
    ]
    assert other.via == winding.via
    assert DragCanvas(other.task).via == winding.via
    other.via = [[], [], []]
    assert other.via == []
    assert np.array_equal(other.task.handles, winding.task.handles)


def test_the_still_shows_the_path(winding):
    curved = np.asarray(winding.still(), int)
    winding.via = []

    changed = np.abs(curved - np.asarray(winding.still(), int)).sum(2) > 60
    at = np.array([30.5, 46.5]) * 10
    assert changed[round(at[1]) - 5 : round(at[1]) + 5, round(at[0]) - 5 : round(at[0]) + 5].any()
    assert not changed[:40].any()


@pytest.mark.parametrize(
    ("points", "via"),
    [
        ([[30, 5], [40, 5], [50, 40], [10, 40]], [[], [[30, 46]]]),  # the first deleted
        ([[50, 40], [10, 40], [30, 5], [40, 5]], [[[30, 46]], []]),  # and the others in another order
        ([[10, 10], [25, 9], [30, 5], [40, 5], [50, 40], [10, 40]], [[[12, 14], [17, 14]], [], [[30, 46]]]),
        ([[1, 1], [2, 2], [30, 5], [40, 5], [50, 40], [10, 40]], [[], [], [[30, 46]]]),  # a new first one
        ([[1, 1], [2, 2]], []),
        ([], []),
    ],
)
def test_points_that_are_set_keep_the_paths_of_their_arrows(winding, points, via):
    winding.points = points

    assert winding.via == via
    assert len(winding.warnings()) == 1


def test_a_new_picture_keeps_the_paths_that_lie_inside_and_says_so(winding):
    winding.image = picture(64, 45)

    assert len(winding.points) == 6
    assert winding.via == [[[12, 14], [17, 14]], [], []]
    assert winding.status == "The new picture is 64×45 px, so 1 path(s) that led outside had to go."
    winding.image = picture(30, 30)
    assert winding.via == [[[12, 14], [17, 14]]]


def test_the_browser_brings_points_and_paths_back_together(winding, monkeypatch):
    sent = []
    monkeypatch.setattr(winding, "_send", lambda message, buffers=None: sent.append(message["method"]))
    via, points = [[[6, 9]], []], [[5, 5], [6, 6], [7, 7], [8, 8]]
    winding.set_state({"via": via, "points": points})

    assert (winding.points, winding.via) == (points, via)
    assert "update" not in sent


def test_a_browser_that_knew_nothing_of_the_paths_is_told(winding, monkeypatch):
    sent = {}
    monkeypatch.setattr(winding, "_send", lambda message, buffers=None: sent.update(message.get("state", {})))
    winding.set_state({"points": [[10, 10], [20, 10]]})

    assert winding.via == [[[12, 14], [17, 14]]]
    assert sent["via"] == winding.via


def circle(x, y, radius):
    turns = np.linspace(0, 2 * np.pi, 40)
    return np.stack([x + radius * np.cos(turns), y + radius * np.sin(turns)], 1).tolist()


def test_a_circled_region_becomes_handles_that_go_along_in_one_step(winding, monkeypatch):
    updates = []
    monkeypatch.setattr(
        winding, "_send", lambda m, buffers=None: m["method"] == "update" and updates.append(m["state"])
    )
    winding.set_state({"_region": circle(12, 12, 8)})

    task = winding.task
    assert len(task.handles) > 8
    assert np.allclose(task.targets[3:] - task.handles[3:], [10, 0])
    assert all(np.allclose(np.diff(way, axis=0), [[2, 4], [5, 0], [3, -4]]) for way in task.ways[3:])
    assert np.allclose(np.linalg.norm(task.handles[3:] - 12, axis=1).max(), 7, atol=2)
    assert winding.status == f"The region moves as a whole now, by {len(task.handles) - 3} more handle(s)."
    assert [set(state) for state in updates] == [{"points", "via", "status", "_region"}]


@pytest.mark.parametrize(
    ("corners", "sentence"),
    [
        (circle(50, 20, 6), "No handle lies in the region"),
        ([[1, 1], [20, 20]], "give at least three"),
        (circle(10, 10, 1), "takes no more handles"),
        ([[1, 1], [2, None]], "outline is not a list"),
    ],
)
def test_a_region_that_cannot_be_says_why_and_changes_nothing(winding, corners, sentence):
    points, via = winding.points, winding.via
    winding.set_state({"_region": corners, "status": ""})

    assert sentence in winding.status
    assert (winding.points, winding.via, winding._region) == (points, via, [])


def test_a_region_without_arrows_or_on_a_locked_canvas_changes_nothing(winding):
    winding.locked = True
    points = winding.points
    winding.set_state({"_region": circle(12, 12, 8)})
    assert (winding.points, winding._region) == (points, [])

    empty = DragCanvas(picture())
    empty.set_state({"_region": circle(12, 12, 8)})
    assert "no points" in empty.status


def test_a_region_is_circled_whatever_the_mask(winding):
    winding.mask = np.zeros((48, 64), bool)
    winding.set_state({"_region": circle(12, 12, 8)})

    assert len(winding.points) > 16


def test_a_misspelt_attribute_is_refused():
    with pytest.raises(TypeError, match="brsh"):
        DragCanvas(brsh=3)


def test_a_mask_without_a_picture_is_refused():
    with pytest.raises(BadInput, match="set the picture first"):
        DragCanvas(mask=np.ones((48, 64), bool))


def test_masks_are_read_as_tasks_read_them(canvas, tmp_path):
    half = np.zeros((48, 64), np.uint8)
    half[:, :32] = 255
    Image.fromarray(half).save(tmp_path / "mask.png")

    for mask in (half, half / 255, Image.fromarray(half), tmp_path / "mask.png"):
        canvas.mask = mask
        assert np.array_equal(canvas.mask, half > 0)


def test_nobody_changes_a_mask_behind_the_canvas(canvas):
    mine = np.zeros((48, 64), bool)
    canvas.mask = mine
    mine[:] = True

    assert not canvas.mask.any()
    with pytest.raises(ValueError, match="read-only"):
        canvas.mask[0, 0] = True


def test_a_picture_of_another_size_takes_what_does_not_fit_and_says_so(canvas):
    canvas.points = [[10, 10], [20, 10], [60, 40], [10, 10]]
    canvas.mask = np.ones((48, 64), bool)

    canvas.image = picture(40, 40)

    assert canvas.points == [[10, 10], [20, 10]]
    assert canvas.mask is None
    assert "40×40" in canvas.status
    assert "1 arrow(s)" in canvas.status
    assert "mask" in canvas.status


def test_a_picture_of_the_same_size_leaves_points_and_mask(canvas):
    canvas.mask = np.ones((48, 64), bool)

    canvas.image = Image.new("RGB", (64, 48), "red")

    assert canvas.points == [[10, 10], [20, 10]]
    assert canvas.mask.all()


def test_observers_hear_of_changes(canvas):
    heard = []
    canvas.observe(lambda change: heard.append(change["name"]), ["points", "mask", "image"])

    canvas.points = [[1, 2], [3, 4]]
    canvas.set_state({"mask": encode_mask(np.ones((48, 64), bool))})

    assert heard == ["points", "mask"]


def test_the_selected_arrow_goes_with_its_arrow(canvas):
    canvas.selected = 0
    canvas.points = []

    assert canvas.selected == -1


def test_state_from_the_browser_that_does_not_fit_is_answered_with_the_true_one(canvas, monkeypatch):
    sent = []
    monkeypatch.setattr(canvas, "_send", lambda message, buffers=None: sent.append(message))
    canvas.set_state({"mask": encode_mask(np.ones((3, 3), bool)), "points": [[1, 2]]})

    told = {name for message in sent if message["method"] == "update" for name in message["state"]}
    assert told >= {"mask", "points"}
    assert canvas.mask is None
    assert canvas.points == [[10, 10], [20, 10]]


def test_state_from_the_browser_that_fits_is_not_sent_back(canvas, monkeypatch):
    sent = []
    monkeypatch.setattr(canvas, "_send", lambda message, buffers=None: sent.append(message["method"]))
    canvas.set_state({"mask": encode_mask(np.tri(48, 64, dtype=bool)), "points": [[1, 2], [3, 4.5]], "selected": 0})

    assert "update" not in sent


def test_an_undo_across_pictures_brings_the_old_one_back_with_its_mask(canvas):
    first, state = canvas.image, {"points": [[5, 5], [6, 6]], "mask": encode_mask(np.tri(48, 64, dtype=bool))}
    number = canvas._picture
    canvas.image = picture(80, 80)

    canvas.set_state({"_picture": number, **state})

    assert canvas.image is first
    assert canvas.points == [[5, 5], [6, 6]]
    assert np.array_equal(canvas.mask, np.tri(48, 64, dtype=bool))


def upload(canvas, data, name="photo.png"):
    pieces = [data[k : k + 1000] for k in range(0, len(data), 1000)] or [b""]
    for part, piece in enumerate(pieces):
        content = {"kind": "upload", "name": name, "part": part, "of": len(pieces)}
        canvas._handle_custom_msg(content, [memoryview(piece)])


def test_an_upload_is_turned_upright_scaled_down_and_named(canvas):
    exif = Image.Exif()
    exif[0x0112] = 6  # rotated by 90°
    upload(canvas, file_of(Image.new("RGB", (3000, 1500), "teal"), "JPEG", exif=exif), r"C:\Users\me\holiday.jpg")

    assert canvas.image.size == (1024, 2048)
    assert canvas.name == "holiday"
    assert canvas.status.startswith("holiday.jpg: 1024×2048 px, scaled down from 1500×3000 px.")
    assert "Users" not in canvas.status


@pytest.mark.parametrize("mode", ["I;16", "RGBA", "P", "L"])
def test_uploads_of_any_mode_become_rgb(canvas, mode):
    image = Image.new("I;16", (64, 48), 40000) if mode == "I;16" else picture().convert(mode)
    upload(canvas, file_of(image))

    assert canvas.image.mode == "RGB"
    if mode == "I;16":
        assert canvas.image.getpixel((0, 0)) == (156, 156, 156)


@pytest.mark.parametrize(
    "data", [b"", b"no picture at all", file_of(picture())[:900], file_of(Image.new("RGB", (8, 8)))]
)
def test_a_broken_upload_is_said_by_name_and_changes_nothing(canvas, data):
    before = canvas.image
    upload(canvas, data, "/home/me/secret/broken.png")

    assert canvas.image is before
    assert "'broken.png'" in canvas.status
    assert "secret" not in canvas.status


def test_a_locked_canvas_takes_no_upload(canvas):
    before, canvas.locked = canvas.image, True
    upload(canvas, file_of(picture(30, 30)))

    assert canvas.image is before


def test_the_soft_mask_fades_over_the_feather(canvas):
    mask = np.zeros((48, 64), bool)
    mask[:, 32:] = True
    canvas.mask, canvas.feather = mask, 4.0

    soft = canvas.soft_mask

    assert soft[24, 31] == pytest.approx(0.45, abs=0.05)
    assert soft[24, 20] < 0.01
    assert soft[24, 44] > 0.99


@pytest.mark.parametrize("state", ["task", "no points", "empty"])
def test_a_stored_notebook_shows_a_picture(canvas, state):
    canvas = {"task": canvas, "no points": DragCanvas(picture()), "empty": DragCanvas()}[state]

    data, _ = canvas._repr_mimebundle_()

    assert "application/vnd.jupyter.widget-view+json" in data
    assert max(Image.open(io.BytesIO(base64.b64decode(data["image/png"]))).size) == 640
    assert "DragCanvas" in data["text/plain"]


def test_the_package_brings_its_javascript_and_css():
    assert "export default" in str(DragCanvas._esm)
    assert ".gd-canvas" in str(DragCanvas._css)


def test_a_task_round_trips_through_a_canvas(task):
    assert repr(DragCanvas(task).task) == repr(task)
    assert isinstance(DragCanvas(task).task, DragTask)
