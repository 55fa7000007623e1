"""The canvas's traits: what may be put into them, and how each one travels to the browser and back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import traitlets
from PIL import Image

from gooddrag.errors import BadInput
from gooddrag.images import check_size, from_array, read_image, to_rgb
from gooddrag.task import MOST_PAIRS, MOST_STOPS, DragTask
from widgets.drag_canvas.wire import decode_mask, decode_picture, encode_mask, encode_picture


class Picture(traitlets.TraitType["Image.Image | None", Any]):
    """An RGB picture or None; paths, open files, bytes and arrays (H, W, 3) are read as `gooddrag.images` does."""

    info_text = "a picture, a path to one, an array (height, width, 3), or None"

    def __init__(self, **how: Any):
        super().__init__(None, allow_none=True, **how)
        self.tag(sync=True, to_json=_picture_out, from_json=_picture_in)

    def validate(self, obj: Any, value: Any) -> Image.Image:
        if isinstance(value, np.ndarray):
            value = from_array(value)
        if isinstance(value, bytes | memoryview):
            value = decode_picture(value)
        if isinstance(value, str | Path) or hasattr(value, "read"):
            return read_image(value)
        if not isinstance(value, Image.Image):
            raise BadInput(f"The picture is a {type(value).__name__}: give {self.info_text}.")
        check_size(value.size)
        return value if value.mode == "RGB" else to_rgb(value)


class Mask(traitlets.TraitType["np.ndarray | None", Any]):
    """Read-only bool array (H, W), True where the picture may change, or None: everywhere.

    What `DragTask` takes for a mask is taken here; besides, an array may be all False, for one is still drawing.
    """

    info_text = "an array (height, width) that is True where the picture may change, or None"

    def __init__(self, **how: Any):
        super().__init__(None, allow_none=True, **how)
        self.tag(sync=True, to_json=_mask_out, from_json=_mask_in)

    def validate(self, obj: Any, value: Any) -> np.ndarray:
        if obj.image is None:
            raise BadInput("There is no picture yet, so there can't be a mask: set the picture first.")
        width, height = obj.image.size
        if (
            isinstance(value, np.ndarray)
            and value.shape == (height, width)
            and (value.dtype == bool or not value.any())
        ):
            mask = value.astype(bool)
        else:
            corner = np.zeros((1, 2))
            mask = np.array(DragTask(obj.image, corner, corner, value).mask)
        mask.setflags(write=False)
        return mask


class Points(traitlets.TraitType[list[list[float]], Any]):
    """Handle, target, handle, target, … as [x, y] in image pixels; pixel centres at integers. Arrays (2n, 2) too."""

    info_text = "a list of [x, y] pairs, handle and target in turn"

    def __init__(self, **how: Any):
        super().__init__([], **how)
        self.tag(sync=True, from_json=_points_in)

    def make_dynamic_default(self) -> list[list[float]]:
        return []

    def validate(self, obj: Any, value: Any) -> list[list[float]]:
        points = path_of(value, f"The points are not {self.info_text}.")
        if len(points) % 2:
            raise BadInput(f"There are {len(points)} points, so one handle lacks a target: give {self.info_text}.")
        if len(points) > 2 * MOST_PAIRS:
            raise BadInput(f"There are {len(points) // 2} drags, which is too many: give at most {MOST_PAIRS}.")
        return points


class Outline(traitlets.TraitType[list[list[float]], Any]):
    """A closed curve, a list of [x, y] in image pixels."""

    def __init__(self, **how: Any):
        super().__init__([], **how)
        self.tag(sync=True)

    def make_dynamic_default(self) -> list[list[float]]:
        return []

    def validate(self, obj: Any, value: Any) -> list[list[float]]:
        return path_of(value, "The outline is not a list of [x, y] pairs.")


class Trails(traitlets.TraitType[list[list[list[float]]], Any]):
    """Paths that handles took, each a list of [x, y] in image pixels; shown, never edited."""

    info_text = "a list of paths, each a list of [x, y] pairs"

    def __init__(self, **how: Any):
        super().__init__([], **how)
        self.tag(sync=True)

    def make_dynamic_default(self) -> list[list[list[float]]]:
        return []

    def validate(self, obj: Any, value: Any) -> list[list[list[float]]]:
        return paths_of(value, f"The trails are not {self.info_text}.")


class Paths(Trails):
    """For each arrow the [x, y] that its handle passes by, in image pixels; [] where all arrows are straight."""

    def validate(self, obj: Any, value: Any) -> list[list[list[float]]]:
        paths, arrows = paths_of(value, f"The paths are not {self.info_text}."), len(obj.points) // 2
        if not any(paths):
            return []
        if len(paths) != arrows:
            raise BadInput(
                f"There are {arrows} arrow(s) but {len(paths)} path(s): set the points first, then a path for each, "
                "empty for straight."
            )
        stops = sum(map(len, paths))
        if stops > MOST_STOPS:
            raise BadInput(f"The paths have {stops} points, which is too many: give at most {MOST_STOPS}.")
        return paths


def paths_of(value: Any, wrong: str) -> list[list[list[float]]]:
    """Anything like a list of (n, 2) → a list of lists of [x, y]; raises BadInput(wrong) else."""
    try:
        paths = list(value)
    except TypeError as error:
        raise BadInput(wrong) from error
    return [path_of(path, wrong) for path in paths]


def path_of(value: Any, wrong: str) -> list[list[float]]:
    """Anything like (n, 2) → list of [x, y]; raises BadInput(wrong) where it is nothing like it."""
    try:
        array = np.array(value if isinstance(value, np.ndarray) else [list(point) for point in value], float)
    except (TypeError, ValueError, OverflowError) as error:
        raise BadInput(wrong) from error
    if array.size == 0:
        return []
    if array.ndim != 2 or array.shape[1] != 2 or not np.isfinite(array).all():
        raise BadInput(wrong)
    return (array + 0.0).tolist()  # + 0.0: no negative zeros


def _picture_out(picture: Image.Image | None, widget: Any) -> bytes | None:
    return None if picture is None else widget.encoded(picture, encode_picture)


def _picture_in(data: Any, widget: Any) -> Image.Image | None:
    return None if data is None else decode_picture(data)


def _mask_out(mask: np.ndarray | None, widget: Any) -> bytes | None:
    return None if mask is None else widget.encoded(mask, encode_mask)


def _mask_in(data: Any, widget: Any) -> np.ndarray | None:
    """What the browser sent, unless it belongs to a picture that was exchanged meanwhile: then what there is."""
    if data is None:
        return None
    mask = decode_mask(data)
    return mask if widget.image is not None and mask.shape == widget.image.size[::-1] else widget.mask


def _points_in(data: Any, widget: Any) -> Any:
    return data
