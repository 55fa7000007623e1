"""What a drag task is: a picture, handles with their targets, and a mask; how it is checked, read, written and drawn.

No tensors here: everything is in image pixels, points as (x, y) with pixel centres at integers.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps

from gooddrag.errors import BadInput
from gooddrag.files import written_together
from gooddrag.images import check_size, from_array, read_image, to_rgb

MOST_PAIRS = 100
MOST_STOPS = 900
LARGEST_JSON = 1_000_000  # bytes
IMAGE_NAMES = tuple(f"original.{ending}" for ending in ("png", "jpg", "jpeg", "webp"))  # write's own first
UNREADABLE = (OSError, SyntaxError, ValueError, EOFError, RuntimeError, MemoryError)  # what Pillow's decoders raise
BLUE, ORANGE = (0, 114, 178), (230, 159, 0)


@dataclass(frozen=True, eq=False, repr=False)
class DragTask:
    """A picture and what shall happen to it.

    Parameters
    ----------
    image
        RGB picture; a path or an array (H, W, 3), uint8 or float in 0..1, is read.
    handles, targets
        (n, 2) image pixels as (x, y): where each drag starts and where it is to go.
    mask
        (H, W), True where the picture may change; None: everywhere. Paths and pictures are read (white may change), of
        several channels the first. Where 0 and 1 are all there is, 1 may change; else what is above 127.
    name, prompt
        What to call it; a text that describes the picture (the paper uses none).
    via
        What each handle passes by on its way, a list of (x, y) for each drag in turn; none: straight to its target.

    Raises
    ------
    BadInput
        When the parts don't fit together; see the message.
    """

    image: Image.Image
    handles: np.ndarray
    targets: np.ndarray
    mask: np.ndarray | None = None
    name: str = "drag"
    prompt: str = ""
    via: tuple[np.ndarray, ...] = ()

    def __post_init__(self) -> None:
        image = _as_image(self.image)
        handles, targets = _as_points(self.handles, "handle"), _as_points(self.targets, "target")
        if len(handles) != len(targets):
            raise BadInput(
                f"There are {len(handles)} handles but {len(targets)} targets: each handle needs one target of its own."
            )
        if not len(handles):
            raise BadInput("There are no points: give at least one handle and its target.")
        if len(handles) > MOST_PAIRS:
            raise BadInput(f"There are {len(handles)} drags, which is too many: give at most {MOST_PAIRS}.")
        for points, kind in ((handles, "handle"), (targets, "target")):
            _check_inside(points, kind, image.size)
        mask = None if self.mask is None else _as_mask(self.mask, image.size)
        via = _as_via(self.via, len(handles), image.size)
        for field, value in {"image": image, "handles": handles, "targets": targets, "mask": mask, "via": via}.items():
            if isinstance(value, np.ndarray):
                value.setflags(write=False)
            object.__setattr__(self, field, value)

    def __repr__(self) -> str:
        may_change = "everything" if self.mask is None else f"{self.mask.mean():.0%}"
        return (
            f"DragTask({self.name!r}, {self.image.width}×{self.image.height} px, {len(self.handles)} drag(s), "
            f"{may_change} may change)"
        )

    @property
    def size(self) -> tuple[int, int]:
        """(width, height)."""
        return self.image.size

    @property
    def distances(self) -> np.ndarray:
        """From each handle to its target in image pixels (n,)."""
        return np.linalg.norm(self.targets - self.handles, axis=1)

    @property
    def ways(self) -> list[np.ndarray]:
        """Each handle's way, (m, 2) image pixels: the handle, what it passes by, the target."""
        between = self.via or [np.zeros((0, 2))] * len(self.handles)
        return [np.vstack([p, stops, g]) for p, stops, g in zip(self.handles, between, self.targets, strict=True)]

    @property
    def detour(self) -> float:
        """How many times longer the longest way is than the longest straight drag; 1 where all go straight."""
        lengths = [np.linalg.norm(np.diff(way, axis=0), axis=1).sum() for way in self.ways]
        return max(1.0, float(max(lengths) / max(self.distances.max(), 1.0))) if self.via else 1.0

    def with_points(self, handles: Any, targets: Any, via: Any = ()) -> DragTask:
        """The same picture and mask with other points."""
        return replace(self, handles=handles, targets=targets, via=via)

    def with_mask(self, mask: Any) -> DragTask:
        """The same picture and points with another mask (None: everything may change)."""
        return replace(self, mask=mask)

    def warnings(self) -> list[str]:
        """What is legal but probably not meant, one sentence each."""
        notes = []
        mask = self.mask
        if mask is None:
            notes.append("There is no mask, so everything may change: paint one to keep the rest as it is.")
        elif mask.all():
            notes.append("The mask covers the whole picture, so nothing is kept as it is.")
        pixels = np.round(self.handles).astype(int)
        for k, ((x, y), distance) in enumerate(zip(pixels, self.distances, strict=True), start=1):
            if mask is not None and not mask[y, x]:
                notes.append(f"Handle {k} lies outside the mask, so it is held in place: extend the mask to it.")
            if distance == 0 and not (self.via and len(self.via[k - 1])):
                notes.append(f"Handle {k} lies on its target already, so it won't be dragged.")
        if len(np.unique(pixels, axis=0)) < len(pixels):
            notes.append("Two handles lie on the same pixel and will pull against each other.")
        return notes

    @classmethod
    def read(cls, folder: Path | str) -> DragTask:
        """Read a Drag100-style folder: original.jpg (or .png, …), points.json, and mask.png if there is one.

        Of several originals the .png is taken, which is what `write` makes. points.json is {"points": [[x, y], …]},
        handle and target in turn, in pixels of the upright picture (EXIF rotation applied); "via", where it is there,
        has for each drag the list of points that its handle passes by.
        """
        folder = Path(folder)
        if not os.path.exists(folder):
            raise BadInput(f"There is no task folder '{folder}': check the path.")
        if not folder.is_dir():
            raise BadInput(f"'{folder}' is a file, not a task folder: name the folder that holds points.json.")
        original = next((folder / n for n in IMAGE_NAMES if (folder / n).is_file()), None)
        if original is None:
            raise BadInput(f"The task folder '{folder}' has no original.jpg or original.png: put the picture there.")
        image, (points, via) = read_image(original), _read_points(folder / "points.json")
        mask = _as_mask(folder / "mask.png", image.size) if os.path.lexists(folder / "mask.png") else None
        try:
            return cls(image, points[0::2], points[1::2], mask, folder.resolve().name, via=via)
        except BadInput as error:
            why = str(error)
            raise BadInput(f"'{folder / 'points.json'}' can't be used: {why[0].lower()}{why[1:]}") from error

    def write(self, folder: Path | str) -> None:
        """Write original.png, points.json, mask.png (where there is a mask) and image_with_points.jpg (a drawing).

        A mask.png that is there already is removed when the task has no mask, so that `read` gives the same task.

        Raises
        ------
        BadInput, EditFailed
            When the folder can't be written; when the disk is full.
        """
        folder = Path(folder)
        pairs = np.stack([self.handles, self.targets], 1).reshape(-1, 2)
        via = {"via": [_plain(stops) for stops in self.via]} if self.via else {}
        text = json.dumps({"points": _plain(pairs)} | via)
        with written_together(folder, last="points.json", optional=("mask.png",)) as place:
            self.image.save(place / "original.png")
            if self.mask is not None:
                Image.fromarray(self.mask.astype(np.uint8) * 255).save(place / "mask.png")
            self.draw().save(place / "image_with_points.jpg", quality=92)
            (place / "points.json").write_text(text + "\n", encoding="utf-8")

    def draw(self, scale: float | None = None) -> Image.Image:
        """The picture with numbered arrows (full dot: handle, ring: target), what is kept slightly veiled.

        `scale` enlarges smoothly first; None brings the longer side to between 512 and 4096 px.
        """
        longest = max(self.size)
        if scale is None:
            scale = float(np.clip(1.0, 512 / longest, 4096 / longest))
        if not 0 < scale < float("inf"):
            raise BadInput(f"The scale is {scale}: give a positive number, such as 1.")
        size = (max(1, round(self.size[0] * scale)), max(1, round(self.size[1] * scale)))
        picture = self.image.resize(size, Image.Resampling.LANCZOS)
        if self.mask is not None:
            veil = Image.blend(picture, Image.new("RGB", size, (128, 128, 128)), 0.55)
            soft = Image.fromarray(self.mask.astype(np.uint8) * 255).resize(size, Image.Resampling.BILINEAR)
            picture = Image.composite(picture, veil, soft)
        large = picture.resize((size[0] * 2, size[1] * 2), Image.Resampling.BICUBIC)
        canvas, unit = ImageDraw.Draw(large), max(large.size) / 128
        for k, way in enumerate(self.ways, start=1):
            _arrow(canvas, [tuple(q) for q in (way + 0.5) * scale * 2], unit, str(k))
        return large.resize(size, Image.Resampling.LANCZOS)


def _arrow(canvas: ImageDraw.ImageDraw, way: list[tuple[float, ...]], unit: float, label: str) -> None:
    p, g = way[0], way[-1]
    for colour, width in (("white", 2.0), (BLUE, 1.1)):
        canvas.line(way, fill=colour, width=max(1, round(unit * width)), joint="curve")  # type: ignore[arg-type]
    for (x, y), colour, fill, r, width in (
        (p, "white", BLUE, 2.2, 0.7),
        (g, "white", None, 2.7, 1.7),
        (g, ORANGE, None, 2.2, 0.8),
    ):
        box = [x - r * unit, y - r * unit, x + r * unit, y + r * unit]
        canvas.ellipse(box, fill=fill, outline=colour, width=max(1, round(width * unit)))
    font = ImageFont.load_default(size=max(10.0, 5 * unit))
    x, y, stroke = p[0] + 2.6 * unit, p[1] - 7 * unit, max(1, round(unit / 3))
    left, top, right, bottom = canvas.textbbox((x, y), label, font=font, stroke_width=stroke)
    width, height = canvas.im.size
    at = (x - max(0, right - width) - min(0, left), y - max(0, bottom - height) - min(0, top))
    canvas.text(at, label, fill="white", stroke_fill="black", stroke_width=stroke, font=font)


def _as_image(image: Any) -> Image.Image:
    if isinstance(image, str | Path):
        return read_image(image)
    if isinstance(image, np.ndarray):
        image = from_array(image)
    if not isinstance(image, Image.Image):
        raise BadInput(f"The picture is a {type(image).__name__}: give a PIL image, an array or a path.")
    check_size(image.size)
    try:
        return to_rgb(image).copy()
    except UNREADABLE as error:
        raise BadInput("The picture can't be decoded: save it again as PNG or JPEG, then open that.") from error


def _as_points(points: Any, kind: str) -> np.ndarray:
    wanted = "a list of (x, y) pairs in pixels"
    if isinstance(points, Iterable) and not isinstance(points, str | np.ndarray):
        points = list(points)
    try:
        array = np.array(points)
        truths = isinstance(points, list) and any(isinstance(v, bool | np.bool_) for p in points for v in p)
    except (TypeError, ValueError, OverflowError) as error:
        raise BadInput(f"The {kind}s are not {wanted}.") from error
    if array.size == 0:
        return np.zeros((0, 2))
    if array.ndim != 2 or array.shape[1] != 2 or array.dtype.kind not in "iuf" or truths:
        raise BadInput(f"The {kind}s are not {wanted}.")
    array = array.astype(np.float64)
    if not np.isfinite(array).all():
        raise BadInput(f"A {kind} has a coordinate that is NaN or infinite: give finite pixels.")
    return array


def _as_via(via: Any, drags: int, size: tuple[int, int]) -> tuple[np.ndarray, ...]:
    """Stops of each drag, or () where all go straight."""
    if via is None or not len(via):
        return ()
    if len(via) != drags:
        raise BadInput(
            f"There are {drags} drags but 'via' has {len(via)} lists: give one for each, empty for straight."
        )
    stops = tuple(_as_points(points, "stop") for points in via)
    if sum(map(len, stops)) > MOST_STOPS:
        raise BadInput(f"The paths have {sum(map(len, stops))} stops, which is too many: give at most {MOST_STOPS}.")
    for points in stops:
        _check_inside(points, "stop", size)
        points.setflags(write=False)
    return stops if any(map(len, stops)) else ()


def _check_inside(points: np.ndarray, kind: str, size: tuple[int, int]) -> None:
    outside = ((points < 0) | (points > np.array(size) - 1)).any(1)
    if outside.any():
        x, y = points[outside][0]
        raise BadInput(
            f"The {kind} ({x:g}, {y:g}) lies outside the picture of {size[0]}×{size[1]} px: "
            f"x goes from 0 to {size[0] - 1}, y from 0 to {size[1] - 1}."
        )


def _as_mask(mask: Any, size: tuple[int, int]) -> np.ndarray:
    name = f"'{mask}'" if isinstance(mask, str | Path) else "The mask"
    values = _mask_values(mask)
    if values.shape != (size[1], size[0]):
        got = f"{values.shape[1]}×{values.shape[0]} px" if values.ndim == 2 else f"the shape {values.shape}"
        raise BadInput(f"{name} has {got} but the picture {size[0]}×{size[1]} px: make them the same size.")
    editable = values > (0 if values.max() <= 1 else 127)
    if not editable.any():
        raise BadInput(f"{name} is empty, so nothing may change: paint what may change white, or leave the mask out.")
    return editable


def _mask_values(mask: Any) -> np.ndarray:
    """Any mask → its numbers, (H, W) where it is a sound one; what is transparent counts as black."""
    if isinstance(mask, str | Path):
        read_image(mask)  # says what is wrong with the file; its white background would make transparent parts editable
        with Image.open(mask) as picture:
            return _mask_values(ImageOps.exif_transpose(picture))
    if isinstance(mask, Image.Image):
        try:
            if mask.has_transparency_data and not mask.mode.startswith(("I", "F")):
                mask = Image.alpha_composite(Image.new("RGBA", mask.size, "black"), mask.convert("RGBA"))
            return np.asarray(to_rgb(mask))[..., 0]
        except UNREADABLE as error:
            raise BadInput("The mask can't be decoded: save it again as PNG, then open that.") from error
    try:
        values = np.asarray(mask)
    except ValueError:  # rows of different lengths
        values = np.array(None)
    if values.dtype.kind not in "biuf" or not np.isfinite(values).all():
        raise BadInput("The mask is not an array of finite numbers: use True where the picture may change.")
    return values[..., 0] if values.ndim == 3 and values.shape[2] else values


def _plain(points: np.ndarray) -> list[list[float]]:
    return [[int(v) if v == int(v) else float(v) for v in point] for point in points]


def _read_points(path: Path) -> tuple[np.ndarray, Any]:
    """points.json → (2n, 2), handle and target in turn, and what it says of "via"."""
    wanted = 'it must hold {"points": [[x, y], …]} with handle and target in turn'
    if not path.is_file():
        raise BadInput(f"There is no '{path}': {wanted}.")
    if path.stat().st_size > LARGEST_JSON:
        raise BadInput(f"'{path}' is larger than 1 MB: {wanted}.")
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise BadInput(f"'{path}' is not valid JSON: {wanted}.") from error
    points = content.get("points") if isinstance(content, dict) else None
    if not isinstance(points, list):
        raise BadInput(f"'{path}' has no list of points: {wanted}.")
    if not points:
        raise BadInput(f"'{path}' has no points: give at least one handle and its target.")
    if not all(isinstance(p, list) and len(p) == 2 and all(type(v) in (int, float) for v in p) for p in points):
        raise BadInput(f"'{path}' has a point that is not a pair of numbers: {wanted}.")
    if len(points) % 2:
        raise BadInput(f"'{path}' has {len(points)} points, so one handle lacks a target: {wanted}.")
    try:
        array = np.array(points, float)
    except OverflowError as error:
        raise BadInput(f"'{path}' has a coordinate that is far too large: {wanted}.") from error
    if not np.isfinite(array).all():
        raise BadInput(f"'{path}' has a coordinate that is NaN or infinite: give finite pixels.")
    via = content.get("via", ())
    if not isinstance(via, list | tuple):
        raise BadInput(f"'{path}' has a \"via\" that is no list: give a list of points for each drag, or leave it out.")
    return array, via
