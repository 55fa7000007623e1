"""The drag canvas: draw arrows, paths and a mask on a picture with mouse, finger, pen or keys.

Python holds the state and checks it; canvas.js draws it and hears the user. Each action of the user arrives here once,
at its end. Undo and redo live in the browser, shared by all views of one canvas.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anywidget
import numpy as np
import traitlets
from PIL import Image, ImageFilter, ImageOps

from gooddrag.errors import BadInput
from gooddrag.task import DragTask
from widgets.drag_canvas.paths import is_inside, kept_paths, pairs_of, paths_inside, with_region
from widgets.drag_canvas.traits import Mask, Outline, Paths, Picture, Points, Trails
from widgets.drag_canvas.wire import decode_picture, encode_picture
from widgets.still import with_still

LARGEST_SIDE = 2048  # px; a picture that the user drops is scaled down to this
LARGEST_FILE = 100_000_000  # bytes
PICTURES_KEPT = 8  # that undo can bring back; canvas.js has the same number
STILL_SIDE = 640  # px
EDITED = ("image", "_picture", "points", "via", "mask", "feather", "selected", "compare")  # by the browser too


class DragCanvas(anywidget.AnyWidget):
    """A picture to draw handle → target arrows and a mask on.

    Parameters
    ----------
    start
        A `DragTask`, a folder that holds one, a picture or a path to one; None asks the user for a picture.
    mode
        What the pointer does: "drag" draws and moves arrows, "path" draws curved ones, "region" circles what is to move
        as a whole, "brush", "erase" and "polygon" change the mask, "pan" moves the picture.
    **traits
        Any of the attributes below.

    Attributes
    ----------
    image
        RGB picture or None. A picture of another size takes away the mask and the points that lie outside.
    points
        Handle, target, handle, target, … as [x, y] in image pixels, pixel centres at integers.
    via
        For each arrow the list of [x, y] that its handle passes by; [] where all arrows are straight. Where `points`
        are set, an arrow with two new ends is straight, and all others keep their paths.
    mask
        Bool (H, W), True where the picture may change; None: everywhere.
    brush, feather
        Radius of the brush and width of the mask's soft edge, in image pixels.
    selected
        Which arrow is selected, from 0; -1: none.
    locked
        True: the user can look, zoom and pan, but not change anything.
    preview, compare
        An edited picture to show over `image` or None, and how far `image` covers it from the left (0: not at all).
    trails
        Paths to show, each a list of [x, y]: where the handles went.
    status
        The line below the picture.
    name, prompt
        What the task is called, and its text. Not shown.
    """

    _esm = Path(__file__).parent / "canvas.js"
    _css = Path(__file__).parent / "canvas.css"

    image = Picture()
    points = Points()
    via = Paths()
    mask = Mask()
    mode = traitlets.Enum(["drag", "path", "region", "brush", "erase", "polygon", "pan"], "drag").tag(sync=True)
    brush = traitlets.Float(12.0, min=0.5).tag(sync=True)
    feather = traitlets.Float(0.0, min=0.0).tag(sync=True)
    selected = traitlets.Int(-1).tag(sync=True)
    locked = traitlets.Bool(False).tag(sync=True)
    preview = Picture()
    compare = traitlets.Float(0.0, min=0.0, max=1.0).tag(sync=True)
    trails = Trails()
    status = traitlets.Unicode("").tag(sync=True)
    _picture = traitlets.List([0, 0, 0]).tag(sync=True)  # number, width and height of `image`; undo sends an old number
    _region = Outline()  # what the user has circled; taken at once

    def __init__(self, start: DragTask | Image.Image | Path | str | None = None, *, mode: str = "drag", **traits: Any):
        self.name, self.prompt = "drag", ""
        self._encoded: dict[int, tuple[Any, bytes]] = {}
        self._album: dict[int, Image.Image] = {}
        self._upload: list[bytes] = []
        super().__init__(mode=mode)
        self.on_msg(self._on_message)
        if isinstance(start, str | Path) and Path(start).is_dir():
            self.load(start)
        elif isinstance(start, DragTask):
            self._show(start)
        else:
            self.set_trait("image", start)
        with self.hold_sync():
            for name, value in sorted(traits.items(), key=_paths_last):
                if not self.has_trait(name):
                    raise TypeError(f"DragCanvas has no attribute '{name}'.")
                setattr(self, name, value)

    @property
    def task(self) -> DragTask:
        """What the canvas shows, as a task.

        Raises
        ------
        BadInput
            When it is none yet: no picture, no arrow, an empty mask, a point outside.
        """
        return self._task_with(self.mask)

    @property
    def unmasked(self) -> DragTask:
        """The task as if everything might change; raises BadInput as `task`."""
        return self._task_with(None)

    @property
    def soft_mask(self) -> np.ndarray | None:
        """The mask with its soft edge as the canvas shows it, float32 (H, W) in 0..1; None where there is no mask."""
        if self.mask is None:
            return None
        hard = Image.fromarray(self.mask.astype(np.uint8) * 255)
        return np.asarray(hard.filter(ImageFilter.GaussianBlur(self.feather)), np.float32) / 255

    def load(self, folder: Path | str) -> None:
        """Show the task of a Drag100 folder; raises BadInput as `DragTask.read`."""
        self._show(DragTask.read(folder))

    def save(self, folder: Path | str) -> None:
        """Write the task as a Drag100 folder; raises BadInput as `task` and `DragTask.write`."""
        self.task.write(folder)

    def warnings(self) -> list[str]:
        """Why this is no task yet, or what about it is probably not meant; one sentence each."""
        try:
            return self.task.warnings()
        except BadInput as error:
            return [str(error)]

    def still(self) -> Image.Image:
        """The canvas as a picture, at most 640 px wide and high, for places where no kernel runs."""
        if self.image is None:
            return Image.new("RGB", (STILL_SIDE, STILL_SIDE // 2), (235, 235, 235))
        try:
            drawn = self.task.draw(STILL_SIDE / max(self.image.size))
        except BadInput:
            drawn = ImageOps.contain(self.image, (STILL_SIDE, STILL_SIDE))
        return drawn

    def encoded(self, thing: Any, encode: Callable[[Any], bytes]) -> bytes:
        """`encode(thing)`, remembered for the last few things."""
        known = self._encoded.pop(id(thing), None) or (thing, encode(thing))
        self._encoded[id(thing)] = known
        if len(self._encoded) > PICTURES_KEPT:
            del self._encoded[next(iter(self._encoded))]
        return known[1]

    def _task_with(self, mask: np.ndarray | None) -> DragTask:
        if self.image is None:
            raise BadInput("There is no picture yet: drop one on the canvas or set its `image`.")
        points, via = np.reshape(self.points, (-1, 2)), tuple(map(np.array, self.via))
        return DragTask(self.image, points[0::2], points[1::2], mask, self.name, self.prompt, via)

    def set_state(self, sync_data: dict[str, Any]) -> None:
        """Take what the browser sent; where it doesn't fit, send back what there is.

        An undo across pictures names the old one by its number; it is put back before points and mask that fit it, and
        points before the paths that fit them.
        """
        with self.hold_sync():
            number = sync_data.get("_picture", self._picture)[0]
            if number != self._picture[0]:
                if number in self._album or not number:
                    self.image = self._album.get(number)
                else:
                    self.status = "That picture is too long ago to be brought back."
            try:
                super().set_state({k: v for k, v in sorted(sync_data.items(), key=_paths_last) if k != "image"})
            except (BadInput, traitlets.TraitError) as error:
                self.status = str(error)
            true = self.get_state([name for name in EDITED if name in sync_data])
            self._states_to_send.update(k for k, v in true.items() if not _same(v, sync_data[k]))
            if self._region:
                self._take_region()

    def notify_change(self, change: Any) -> None:
        """Where the picture changes, what depends on it changes in the same breath."""
        with self.hold_sync():
            if change["name"] == "image":
                self._follow_picture(change["old"], change["new"])
            if change["name"] == "points":
                self._follow_points(change["old"])
            super().notify_change(change)

    def _follow_points(self, old: list[list[float]]) -> None:
        """The browser itself keeps points and paths in agreement, unless it knew less than is known here."""
        arrows = len(self.points) // 2
        if self.selected >= arrows:
            self.selected = -1
        if self.via and ("points" not in self._property_lock or len(self.via) != arrows):
            self.via = kept_paths(self.via, old, self.points)

    def _follow_picture(self, old: Image.Image | None, new: Image.Image | None) -> None:
        known = [number for number, picture in self._album.items() if picture is new]
        number = 0 if new is None else known[0] if known else 1 + max(self._album, default=0)
        if new is not None:
            self._album[number] = new
            self._album = dict(sorted(self._album.items())[-PICTURES_KEPT:])
        size = (0, 0) if new is None else new.size
        self.set_trait("_picture", [number, *size])
        if isinstance(old, Image.Image) and old.size == size:
            return
        pairs = pairs_of(self.points)
        kept = [pair for pair in pairs if all(is_inside(p, size) for p in pair)]
        had_mask = self.mask is not None
        self.points = [point for pair in kept for point in pair]
        drawn, self.via = self.via, paths_inside(self.via, size)
        straight = sum(map(bool, drawn)) - sum(map(bool, self.via))
        self.mask, self.preview, self.trails = None, None, []
        if new is not None:
            self.brush = max(1.0, float(round(max(size) / 24)))
            self.feather = 0.0
        lost = [f"{len(pairs) - len(kept)} arrow(s) outside it"] * (len(kept) < len(pairs))
        lost += [f"{straight} path(s) that led outside"] * (straight > 0) + ["the mask"] * had_mask
        if lost and new is not None:
            self.status = f"The new picture is {size[0]}×{size[1]} px, so {' and '.join(lost)} had to go."

    def _show(self, task: DragTask) -> None:
        with self.hold_sync():
            self.points, self.mask = [], None
            self.image, self.mask = task.image, task.mask
            self._show_drags(task)
            self.name, self.prompt = task.name, task.prompt

    def _show_drags(self, task: DragTask) -> None:
        self.points = np.stack([task.handles, task.targets], 1).reshape(-1, 2).tolist()
        self.via = [stops.tolist() for stops in task.via]

    def _take_region(self) -> None:
        """Let what the user has circled move as a whole, or say why that can't be."""
        corners, self._region = self._region, []
        if self.locked:
            return
        try:
            task, self.status = with_region(self.unmasked, corners)
            self._show_drags(task)
        except BadInput as error:
            self.status = str(error)

    def _on_message(self, _: Any, content: dict[str, Any], buffers: list[memoryview]) -> None:
        """A file arrives in pieces, since servers refuse large messages."""
        if content.get("kind") != "upload":
            return
        if content["part"] == 0:
            self._upload = []
        self._upload.append(bytes(buffers[0]))
        if len(self._upload) == content["of"]:
            data, self._upload = b"".join(self._upload), []
            self._take(content["name"], data)

    def _take(self, path: str, data: bytes) -> None:
        """Show an uploaded picture, and say what was done to it."""
        name = re.split(r"[\\/]", path)[-1][-80:] or "picture"
        if self.locked:
            return
        try:
            picture = decode_picture(data)
        except BadInput as error:
            self.status = str(error).replace("'the picture'", f"'{name}'")
            return
        size = picture.size
        picture.thumbnail((LARGEST_SIDE, LARGEST_SIDE), Image.Resampling.LANCZOS)
        with self.hold_sync():
            self.image, self.name = picture, name.rsplit(".", 1)[0] or "drag"
            scaled = "" if picture.size == size else f", scaled down from {size[0]}×{size[1]} px"
            self.status = f"{name}: {picture.width}×{picture.height} px{scaled}. {self.status}".strip()

    def _repr_mimebundle_(self, **how: Any) -> Any:
        bundle = super()._repr_mimebundle_(**how)
        if not isinstance(bundle, tuple):
            return bundle
        text = f"DragCanvas with {len(self.points) // 2} drag(s)"
        return with_still(bundle[0], encode_picture(self.still()), text), bundle[1]


def _paths_last(trait: tuple[str, Any]) -> bool:
    """A sorting key: paths are set after the points that they belong to."""
    return trait[0] == "via"


def _same(ours: Any, theirs: Any) -> bool:
    return bytes(ours) == bytes(theirs) if isinstance(ours, bytes) and theirs is not None else ours == theirs
