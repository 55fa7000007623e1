"""Drag tasks: what is accepted and refused, what is read from disk, and that writing and reading agree."""

from __future__ import annotations

import errno
import io
import json
import os
import struct
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from PIL import Image

from gooddrag.errors import BadInput, EditFailed
from gooddrag.files import check_writable, write_whole
from gooddrag.task import DragTask, read_image

PAIR = {"handles": [(4, 5)], "targets": [(20, 12.5)]}


def noise(width: int = 40, height: int = 32, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8)


def box(width: int = 40, height: int = 32) -> np.ndarray:
    """A mask (H, W) whose upper left part may change."""
    mask = np.zeros((height, width), bool)
    mask[: height // 2, : width // 2] = True
    return mask


def png(width: int, height: int, depth: int, colour: int, pixels: bytes) -> bytes:
    """A PNG made by hand: sizes and depths that Pillow doesn't write."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    data = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(pixels)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + data


def encoded(picture: Image.Image, kind: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, kind, **options)
    return stream.getvalue()


def contents(folder: Path) -> dict[str, bytes | None]:
    return {str(p.relative_to(folder)): p.read_bytes() if p.is_file() else None for p in folder.rglob("*")}


def assert_one_sentence(error: BaseException, *words: str) -> None:
    message = str(error)
    assert message.endswith("."), message
    assert "\n" not in message
    assert ". " not in message
    assert len(message) <= 300
    assert all(word in message for word in words), message


def assert_refused(call: Callable[[], object], *words: str) -> None:
    with pytest.raises(BadInput) as caught:
        call()
    assert_one_sentence(caught.value, *words)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A sound task folder as Drag100 has them: JPEG, mask, whole numbers."""
    path = tmp_path / "cat_2"
    path.mkdir()
    Image.fromarray(noise()).save(path / "original.jpg")
    Image.fromarray(box().astype(np.uint8) * 255).save(path / "mask.png")
    put_points(path, [[4, 5], [20, 12]])
    return path


def put_points(folder: Path, points: Any) -> None:
    (folder / "points.json").write_text(json.dumps({"points": points}))


# Making a task


def test_a_task_holds_canonical_types_and_knows_its_distances():
    task = DragTask(noise(), [(4, 5), (1, 1)], ((7, 9), (1, 1)), box())
    assert task.image.mode == "RGB"
    assert task.size == (40, 32)
    assert task.handles.dtype == task.targets.dtype == np.float64
    assert task.mask is not None
    assert task.mask.dtype == bool
    assert task.distances.tolist() == [5, 0]
    assert "40×32" in repr(task)
    assert len(repr(task)) < 120


def test_a_task_keeps_its_own_read_only_copies():
    pixels, handles, mask = noise(), np.array([[4.0, 5.0]]), box()
    task = DragTask(pixels, handles, [(9, 9)], mask)
    before = np.array(task.image)
    pixels[:], handles[:], mask[:] = 0, 0, False
    assert (np.array(task.image) == before).all()
    assert task.handles.tolist() == [[4, 5]]
    assert task.mask is not None
    assert task.mask.any()
    for array in (task.handles, task.targets, task.mask):
        with pytest.raises(ValueError, match="read-only"):
            array[:] = 0
    with pytest.raises(AttributeError):
        task.name = "other"  # type: ignore[misc]


def test_pictures_may_be_given_as_array_floats_picture_or_path(tmp_path: Path):
    pixels = noise()
    path = tmp_path / "a.png"
    Image.fromarray(pixels).save(path)
    for image in (pixels, pixels / 255, Image.fromarray(pixels), path, str(path)):
        assert (np.asarray(DragTask(image, **PAIR).image) == pixels).all()


def _mask_forms() -> dict[str, Any]:
    mask = box()
    white = mask.astype(np.uint8) * 255
    red, clear = np.zeros((32, 40, 3), np.uint8), np.full((32, 40, 4), 255, np.uint8)
    red[mask, 0] = 255
    clear[..., 3] = white
    return {
        "truth values": mask,
        "0 and 1": mask.astype(int),
        "0 and 255": white,
        "floats": mask.astype(float),
        "lists": mask.tolist(),
        "one channel": white[..., None],
        "three channels": np.stack([white] * 3, 2),
        "grey picture": Image.fromarray(white),
        "grey picture of 0 and 1": Image.fromarray(white // 255),
        "16-bit picture": Image.fromarray(white.astype(np.uint16) * 257),
        "black-and-white picture": Image.fromarray(white).convert("1"),
        "red picture": Image.fromarray(red),
        "white on transparent": Image.fromarray(clear),
        "palette picture": Image.fromarray(white).convert("P"),
    }


@pytest.mark.parametrize("form", _mask_forms())
def test_masks_may_be_given_in_many_forms(form: str, tmp_path: Path):
    given_as = _mask_forms()[form]
    assert (DragTask(noise(), **PAIR, mask=given_as).mask == box()).all()
    if isinstance(given_as, Image.Image):
        given_as.save(tmp_path / "mask.png")
        assert (DragTask(noise(), **PAIR, mask=tmp_path / "mask.png").mask == box()).all()


def test_greys_above_127_may_change():
    greys = np.zeros((32, 40), np.uint8)
    greys[0, :4] = 1, 127, 128, 255
    mask = DragTask(noise(), **PAIR, mask=Image.fromarray(greys)).mask
    assert mask is not None
    assert mask[0, :4].tolist() == [False, False, True, True]


def test_points_and_mask_can_be_exchanged():
    task = DragTask(noise(), **PAIR, mask=box(), name="n", prompt="p")
    moved, free = task.with_points([(1, 2)], [(3, 4)]), task.with_mask(None)
    assert (moved.handles.tolist(), moved.targets.tolist()) == ([[1, 2]], [[3, 4]])
    assert (moved.mask == task.mask).all()
    assert free.mask is None
    assert free.handles.tolist() == task.handles.tolist()
    assert (free.name, free.prompt) == ("n", "p")


BAD_TASKS: dict[str, dict[str, Any]] = {
    "no points": {"handles": [], "targets": []},
    "no points at all": {"handles": None, "targets": None},
    "a handle without a target": {"handles": [(1, 1), (2, 2)], "targets": [(3, 3)]},
    "too many drags": {"handles": [(1, 1)] * 101, "targets": [(2, 2)] * 101},
    "three coordinates": {"handles": [(1, 1, 1)]},
    "a flat list": {"handles": [1, 1]},
    "rows of different lengths": {"handles": [(1, 1), (2,)], "targets": [(1, 1), (2, 2)]},
    "text for points": {"handles": "4,5"},
    "text coordinates": {"handles": [("4", "5")]},
    "truth values as coordinates": {"handles": [(True, 5)]},
    "complex coordinates": {"handles": [(1j, 5)]},
    "an enormous whole number": {"handles": [(1.0, 10**400)]},
    "NaN": {"targets": [(float("nan"), 5)]},
    "infinity": {"targets": [(5, float("inf"))]},
    "left of the picture": {"handles": [(-0.01, 5)]},
    "right of the picture": {"targets": [(39.01, 5)]},
    "below the picture": {"targets": [(5, 32)]},
    "mask of another size": {"mask": box(32, 40)},
    "empty mask": {"mask": np.zeros((32, 40))},
    "mask of one dimension": {"mask": np.ones(40)},
    "mask of no channel": {"mask": np.ones((32, 40, 0))},
    "a number for a mask": {"mask": 1},
    "ragged mask": {"mask": [[1, 0], [1]]},
    "mask with NaN": {"mask": np.full((32, 40), np.nan)},
    "mask of text": {"mask": np.full((32, 40), "x")},
    "missing mask file": {"mask": "no/such/mask.png"},
    "missing picture": {"image": "no/such/picture.png"},
    "no picture": {"image": None},
    "picture with NaN": {"image": np.full((32, 40, 3), np.nan)},
    "grey array": {"image": np.zeros((32, 40), np.uint8)},
    "array with alpha": {"image": np.zeros((32, 40, 4), np.uint8)},
    "array of one pixel": {"image": np.zeros((1, 1, 3), np.uint8)},
    "empty array": {"image": np.zeros((0, 0, 3), np.uint8)},
    "wide integers": {"image": np.zeros((32, 40, 3), np.int64)},
    "tiny picture": {"image": Image.new("RGB", (15, 99))},
    "huge picture": {"image": np.broadcast_to(np.uint8(0), (6400, 6400, 3))},
    "half a JPEG": {"image": Image.open(io.BytesIO(encoded(Image.fromarray(noise(400, 300)), "JPEG")[:9000]))},
}


@pytest.mark.parametrize("fault", BAD_TASKS)
def test_a_task_of_parts_that_do_not_fit_is_refused(fault: str):
    parts = {"image": noise(), **PAIR, **BAD_TASKS[fault]}
    assert_refused(lambda: DragTask(**parts))


def test_floats_outside_0_to_1_are_refused():
    assert_refused(lambda: DragTask(noise().astype(float), **PAIR))


@given(st.floats().filter(lambda v: not 0 <= v <= 31), st.integers(0, 3), st.integers(1, 5))
def test_any_coordinate_outside_is_refused(value: float, where: int, pairs: int):
    points = np.full((2, pairs, 2), 7.0)
    points[where // 2, -1, where % 2] = 99 if 31 < value <= 39 else value
    assert_refused(lambda: DragTask(noise(), points[0], points[1]))


def test_legal_but_suspicious_tasks_earn_warnings():
    sound = DragTask(noise(), **PAIR, mask=box())
    cases = {
        "no mask": sound.with_mask(None),
        "whole picture": sound.with_mask(np.ones((32, 40), bool)),
        "outside the mask": sound.with_points([(30, 30)], [(5, 5)]),
        "on its target already": sound.with_points([(5, 5)], [(5, 5)]),
        "on the same pixel": sound.with_points([(5, 5), (5.3, 4.8)], [(9, 9), (8, 8)]),
    }
    assert sound.warnings() == []
    for words, task in cases.items():
        (note,) = task.warnings()
        assert words in note
        assert note.endswith(".")


# Drawing


def test_a_drawing_is_enlarged_by_its_scale():
    task = DragTask(noise(), **PAIR)
    assert task.draw(1).size == (40, 32)
    assert task.draw(2.5).size == (100, 80)
    assert max(task.draw().size) == 512
    assert DragTask(noise(9000, 16), **PAIR).draw().size == (4096, 7)


@pytest.mark.parametrize("scale", [0, -1, float("nan"), float("inf")])
def test_a_drawing_needs_a_positive_scale(scale: float):
    assert_refused(lambda: DragTask(noise(), **PAIR).draw(scale))


def test_a_drawing_dims_only_what_is_kept():
    task = DragTask(np.zeros((64, 64, 3), np.uint8), [(10, 10)], [(20, 10)], box(64, 64))
    drawn = np.asarray(task.draw(4).convert("L"))
    assert (drawn[100:116, 4:116] == 0).all()
    assert (drawn[200:, 200:] > 30).all()


def test_handle_and_target_differ_without_colour():
    task = DragTask(np.full((64, 64, 3), 128, np.uint8), [(20, 32)], [(44, 32)])
    grey = np.asarray(task.draw(8).convert("L")).astype(float)
    dot, ring = (grey[260 - 24 : 260 + 24, x - 24 : x + 24] for x in (164, 356))
    assert np.abs(dot - ring).mean() > 10
    assert np.abs(dot - ring[:, ::-1]).mean() > 10


def test_numbers_stay_readable_at_the_edge():
    corner, middle = (63.0, 0.0), (30.0, 40.0)
    task = DragTask(np.zeros((64, 64, 3), np.uint8), [corner, middle], [(40, 20), (10, 50)])
    first, second = task.draw(), task.with_points(task.handles[::-1], task.targets[::-1]).draw()
    place = np.s_[:70, 440:]
    assert (np.asarray(first)[place] != np.asarray(second)[place]).any()


# Reading pictures


@pytest.mark.parametrize("kind", ["path", "stream"])
def test_a_picture_is_read_from_a_path_or_a_stream(kind: str, tmp_path: Path):
    data = encoded(Image.fromarray(noise()), "PNG")
    (tmp_path / "a.png").write_bytes(data)
    picture = read_image(tmp_path / "a.png" if kind == "path" else io.BytesIO(data))
    assert (np.asarray(picture) == noise()).all()


UPRIGHT: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
    8: lambda a: np.rot90(a),
}


@pytest.mark.parametrize("orientation", UPRIGHT)
def test_exif_rotation_is_applied(orientation: int):
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture = read_image(io.BytesIO(encoded(Image.fromarray(noise()), "PNG", exif=exif)))
    assert (np.asarray(picture) == UPRIGHT[orientation](noise())).all()


def _unusual_pictures() -> dict[str, tuple[bytes, tuple[int, int, int]]]:
    """A file of one colour, and that colour in 8-bit RGB on white."""
    size = (20, 18)
    deep = np.full(size[::-1], 80 * 257, np.uint16)
    row = b"\0" + struct.pack(">HHH", 10 * 257, 20 * 257, 30 * 257) * 20
    palette = Image.new("P", size, 1)
    palette.putpalette([0, 0, 0, 200, 100, 50])
    frames = [Image.new("RGB", size, colour) for colour in ("red", "blue")]
    return {
        "16-bit grey": (encoded(Image.fromarray(deep), "PNG"), (80, 80, 80)),
        "16-bit grey TIFF": (encoded(Image.fromarray(deep), "TIFF"), (80, 80, 80)),
        "32-bit grey": (encoded(Image.fromarray(deep.astype(np.int32)), "TIFF"), (80, 80, 80)),
        "16-bit colour": (png(20, 18, 16, 2, row * 18), (10, 20, 30)),
        "clear": (encoded(Image.new("RGBA", size, (0, 0, 0, 0)), "PNG"), (255, 255, 255)),
        "half clear": (encoded(Image.new("RGBA", size, (255, 0, 0, 51)), "PNG"), (255, 204, 204)),
        "grey with alpha": (encoded(Image.new("LA", size, (0, 51)), "PNG"), (204, 204, 204)),
        "grey": (encoded(Image.new("L", size, 77), "PNG"), (77, 77, 77)),
        "black and white": (encoded(Image.new("1", size, 1), "PNG"), (255, 255, 255)),
        "palette": (encoded(palette, "PNG"), (200, 100, 50)),
        "clear palette entry": (encoded(palette, "PNG", transparency=1), (255, 255, 255)),
        "CMYK": (encoded(Image.new("CMYK", size, (0, 255, 255, 0)), "TIFF"), (255, 0, 0)),
        "CMYK JPEG": (encoded(Image.new("CMYK", size, (0, 255, 255, 0)), "JPEG", quality=100), (255, 0, 0)),
        "animation": (encoded(frames[0], "GIF", save_all=True, append_images=frames[1:]), (255, 0, 0)),
    }


@pytest.mark.parametrize("kind", _unusual_pictures())
def test_unusual_pictures_keep_their_colour(kind: str):
    data, colour = _unusual_pictures()[kind]
    picture = read_image(io.BytesIO(data))
    assert (picture.mode, picture.size) == ("RGB", (20, 18))
    assert np.abs(np.asarray(picture).astype(int) - colour).max() <= (3 if "JPEG" in kind else 0)


BAD_FILES: dict[str, bytes] = {
    "empty": b"",
    "text": b"no picture",
    "half a JPEG": encoded(Image.fromarray(noise(400, 300)), "JPEG")[:9000],
    "half a PNG": encoded(Image.fromarray(noise()), "PNG")[:900],
    "only a header": encoded(Image.fromarray(noise()), "PNG")[:33],
    "too small": encoded(Image.new("RGB", (16, 15)), "PNG"),
    "400 megapixels": png(20_000, 20_000, 1, 0, b""),
    "41 megapixels": png(6_400, 6_420, 1, 0, b""),
    "no height": png(20, 0, 8, 2, b""),
}


@pytest.mark.parametrize("fault", BAD_FILES)
def test_a_file_that_is_no_sound_picture_is_refused_by_name(fault: str, tmp_path: Path):
    path = tmp_path / "holiday.jpg"
    path.write_bytes(BAD_FILES[fault])
    assert_refused(lambda: read_image(path), "holiday.jpg")
    assert_refused(lambda: read_image(io.BytesIO(BAD_FILES[fault])))
    assert os.listdir(tmp_path) == ["holiday.jpg"]


def test_a_missing_picture_and_a_folder_are_refused_by_name(tmp_path: Path):
    assert_refused(lambda: read_image(tmp_path / "gone.png"), "gone.png")
    assert_refused(lambda: read_image(tmp_path), tmp_path.name)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(["PNG", "JPEG", "GIF", "BMP", "WEBP"]), st.data())
def test_a_damaged_picture_is_read_or_refused(kind: str, data: st.DataObject):
    damaged = bytearray(encoded(Image.fromarray(noise(24, 20)), kind))
    for at in data.draw(st.lists(st.integers(0, len(damaged) - 1), max_size=5)):
        damaged[at] = data.draw(st.integers(0, 255))
    end = data.draw(st.integers(0, len(damaged)))
    try:
        assert read_image(io.BytesIO(bytes(damaged[:end]))).mode == "RGB"
    except BadInput as error:
        assert_one_sentence(error)


# Reading tasks


def test_a_drag100_folder_is_read(folder: Path):
    task = DragTask.read(folder)
    assert (task.name, task.size) == ("cat_2", (40, 32))
    assert task.handles.tolist() == [[4, 5]]
    assert task.targets.tolist() == [[20, 12]]
    assert (task.mask == box()).all()
    assert DragTask.read(str(folder)).handles.tolist() == [[4, 5]]


def test_reading_forgives_what_is_harmless(folder: Path):
    text = json.dumps({"points": [[4.5, 5], [20, 12]], "author": "someone"})
    (folder / "points.json").write_text(text, encoding="utf-8-sig")
    (folder / "mask.png").unlink()
    (folder / "original.jpg").rename(folder / "original.webp")
    (folder / "notes.txt").write_text("mine")
    task = DragTask.read(folder)
    assert task.mask is None
    assert task.handles.tolist() == [[4.5, 5]]


def test_points_refer_to_the_upright_picture(folder: Path):
    exif = Image.Exif()
    exif[0x0112] = 6
    lying = np.zeros((32, 40, 3), np.uint8)
    lying[:, 32:] = 255
    Image.fromarray(lying).save(folder / "original.jpg", exif=exif)
    (folder / "mask.png").unlink()
    put_points(folder, [[16, 39], [16, 0]])
    task = DragTask.read(folder)
    assert task.size == (32, 40)
    assert task.image.getpixel((16, 39)) == (255, 255, 255)
    assert task.image.getpixel((16, 0)) == (0, 0, 0)


def _write(name: str, data: bytes | str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_bytes(data.encode() if isinstance(data, str) else data)


def _points(*points: Any) -> Callable[[Path], object]:
    return lambda folder: put_points(folder, list(points))


def _mask(mask: np.ndarray) -> Callable[[Path], object]:
    return lambda folder: Image.fromarray(mask).save(folder / "mask.png")


def _without(name: str, then: Callable[[Path], object] = lambda path: None) -> Callable[[Path], object]:
    return lambda folder: ((folder / name).unlink(), then(folder / name))


BAD_FOLDERS: dict[str, tuple[str, Callable[[Path], object]]] = {
    "no points.json": ("points.json", _without("points.json")),
    "points.json is a folder": ("points.json", _without("points.json", Path.mkdir)),
    "empty points.json": ("points.json", _write("points.json", "")),
    "broken JSON": ("points.json", _write("points.json", '{"points": [[1, 2], [3')),
    "not UTF-8": ("points.json", _write("points.json", b'{"points": "\xff\xfe"}')),
    "deep nesting": ("points.json", _write("points.json", "[" * 100_000)),
    "larger than 1 MB": ("points.json", _write("points.json", " " * 1_000_001)),
    "bare list": ("points.json", _write("points.json", "[[1, 2], [3, 4]]")),
    "no key": ("points.json", _write("points.json", '{"pionts": [[1, 2], [3, 4]]}')),
    "null": ("points.json", _write("points.json", '{"points": null}')),
    "no points": ("points.json", _points()),
    "odd number": ("points.json", _points([1, 2], [3, 4], [5, 6])),
    "too many": ("points.json", _points(*[[1, 2]] * 202)),
    "text": ("points.json", _points(["1", 2], [3, 4])),
    "truth value": ("points.json", _points([True, 2], [3, 4])),
    "nothing": ("points.json", _points([None, 2], [3, 4])),
    "NaN": ("points.json", _points([float("nan"), 2], [3, 4])),
    "infinity": ("points.json", _points([1, 2], [3, float("-inf")])),
    "enormous": ("points.json", _points([10**400, 2], [3, 4])),
    "three coordinates": ("points.json", _points([1, 2, 3], [3, 4, 5])),
    "flat": ("points.json", _points(1, 2, 3, 4)),
    "left of the picture": ("points.json", _points([-1, 2], [3, 4])),
    "right of the picture": ("points.json", _points([1, 2], [40, 4])),
    "below the picture": ("points.json", _points([1, 2], [3, 31.5])),
    "mask of another size": ("mask.png", _mask(np.full((40, 32), 255, np.uint8))),
    "black mask": ("mask.png", _mask(np.zeros((32, 40), np.uint8))),
    "broken mask": ("mask.png", _write("mask.png", b"\x89PNG")),
    "mask is a folder": ("mask.png", _without("mask.png", Path.mkdir)),
    "mask is a dead link": ("mask.png", _without("mask.png", lambda path: path.symlink_to("nowhere.png"))),
    "no original": ("original.jpg", _without("original.jpg")),
    "original is text": ("original.jpg", _write("original.jpg", "text")),
    "original is cut off": ("original.jpg", _write("original.jpg", BAD_FILES["half a JPEG"])),
    "original is huge": ("original.jpg", _write("original.jpg", BAD_FILES["400 megapixels"])),
}


@pytest.mark.parametrize("fault", BAD_FOLDERS)
def test_a_faulty_folder_is_refused_by_the_name_of_the_file(fault: str, folder: Path):
    name, spoil = BAD_FOLDERS[fault]
    spoil(folder)
    before = contents(folder)
    assert_refused(lambda: DragTask.read(folder), name)
    assert contents(folder) == before


def test_a_missing_folder_and_a_file_are_refused_by_name(folder: Path):
    assert_refused(lambda: DragTask.read(folder / "gone"), "gone")
    assert_refused(lambda: DragTask.read(folder / "points.json"), "points.json")
    assert_refused(lambda: DragTask.read("gone\0"))
    with pytest.raises(BadInput):
        DragTask.read("x" * 5000)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=12,
)


@settings(max_examples=60, deadline=None)
@given(st.builds(json.dumps, JSON | st.fixed_dictionaries({"points": JSON})).map(str.encode) | st.binary(max_size=60))
@example(b'{"points": [[1, 2], [3, 4]]}')
def test_any_points_file_is_read_or_refused(text: bytes):
    with tempfile.TemporaryDirectory() as place:
        Image.fromarray(noise(16, 16)).save(Path(place, "original.png"))
        Path(place, "points.json").write_bytes(text)
        try:
            assert len(DragTask.read(place).handles)
        except BadInput as error:
            assert_one_sentence(error, "points.json")


# Writing tasks


@st.composite
def tasks(draw: st.DrawFn) -> DragTask:
    width, height = draw(st.integers(16, 80)), draw(st.integers(16, 80))
    seed = draw(st.integers(0, 999))
    point = st.tuples(st.floats(0, width - 1), st.floats(0, height - 1)) | st.tuples(
        st.integers(0, width - 1), st.integers(0, height - 1)
    )
    pairs = draw(st.lists(st.tuples(point, point), min_size=1, max_size=5))
    mask = None
    if draw(st.booleans()):
        mask = np.random.default_rng(seed).random((height, width)) < draw(st.floats(0.1, 1))
        assume(mask.any())
    return DragTask(noise(width, height, seed), [p for p, _ in pairs], [g for _, g in pairs], mask)


def assert_same(one: DragTask, other: DragTask) -> None:
    assert (one.handles == other.handles).all()
    assert (one.targets == other.targets).all()
    assert (np.asarray(one.image) == np.asarray(other.image)).all()
    assert (one.mask is None) == (other.mask is None)
    assert one.mask is None or (one.mask == other.mask).all()


@settings(max_examples=25, deadline=None)
@given(tasks(), tasks())
def test_a_task_written_over_another_is_read_as_it_was(old: DragTask, new: DragTask):
    with tempfile.TemporaryDirectory() as place:
        for task in (old, new):
            task.write(place)
            assert_same(DragTask.read(place), task)


def test_a_task_written_into_a_drag100_folder_is_the_one_that_is_read(folder: Path):
    task = DragTask(noise(seed=1), **PAIR)
    task.write(folder)
    assert_same(DragTask.read(folder), task)
    assert (folder / "original.jpg").exists()


def test_writing_makes_the_drag100_files(tmp_path: Path):
    place = tmp_path / "new" / "task"
    DragTask(noise(), **PAIR, mask=box()).write(place)
    assert sorted(os.listdir(place)) == ["image_with_points.jpg", "mask.png", "original.png", "points.json"]
    assert json.loads((place / "points.json").read_text()) == {"points": [[4, 5], [20, 12.5]]}
    assert "[4, 5]" in (place / "points.json").read_text()
    with Image.open(place / "mask.png") as mask:
        assert mask.mode == "L"
        assert np.unique(np.asarray(mask)).tolist() == [0, 255]


def test_a_very_wide_picture_is_written(tmp_path: Path):
    task = DragTask(np.zeros((16, 70_000, 3), np.uint8), [(0, 0)], [(69_999, 15)])
    task.write(tmp_path)
    assert_same(DragTask.read(tmp_path), task)


def test_a_place_below_a_file_cannot_be_written(tmp_path: Path):
    (tmp_path / "file").write_text("mine")
    task = DragTask(noise(), **PAIR, mask=box())
    assert_refused(lambda: task.write(tmp_path / "file"), "file")
    assert_refused(lambda: task.write(tmp_path / "file" / "sub"), "sub")
    assert contents(tmp_path) == {"file": b"mine"}


def _full(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _half_saved(self: Image.Image, path: Path, *_: object, **__: object) -> None:
    Path(path).write_bytes(b"half")
    _full()


@pytest.mark.parametrize(
    ("owner", "name", "fails"),
    [(Image.Image, "save", _half_saved), (os, "replace", _full), (Path, "write_text", _full), (Path, "mkdir", _full)],
)
def test_a_full_disk_leaves_no_part_of_a_file(
    owner: Any, name: str, fails: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    first, second = DragTask(noise(), **PAIR, mask=box()), DragTask(noise(seed=1), [(1, 1)], [(2, 2)], mask=box())
    first.write(tmp_path)
    before = contents(tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(owner, name, fails)
        with pytest.raises(EditFailed) as caught:
            second.write(tmp_path)
    assert_one_sentence(caught.value)
    assert contents(tmp_path).keys() == before.keys()
    assert (tmp_path / "points.json").read_bytes() == before["points.json"]


def test_a_file_keeps_its_old_content_when_its_writer_fails(tmp_path: Path):
    path = tmp_path / "a.txt"
    path.write_text("old")

    def write(part: Path) -> None:
        part.write_text("new, but not all")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_whole(path, write)
    assert contents(tmp_path) == {"a.txt": b"old"}


def test_checking_a_folder_leaves_nothing_behind(tmp_path: Path):
    check_writable(tmp_path / "a" / "b")
    assert contents(tmp_path) == {}


def test_a_folder_that_cannot_be_written_is_refused_and_not_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def locked(**_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    (tmp_path / "file").write_text("mine")
    assert_refused(lambda: check_writable(tmp_path / "file" / "sub"), "sub")
    monkeypatch.setattr(tempfile, "TemporaryFile", locked)
    assert_refused(lambda: check_writable(tmp_path / "a" / "b"), "Permission denied")
    assert contents(tmp_path) == {"file": b"mine"}


def test_tasks_need_no_torch():
    code = "import sys, gooddrag.task; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
