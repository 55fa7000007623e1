"""What all explorers share: controls above, one picture below them with a sentence, and a memory of what was drawn."""

from __future__ import annotations

import html
import io
from collections.abc import Hashable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import ipywidgets as ipw
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image
from torch import Tensor

from figures.style import LessonFigure, house_style
from gooddrag.backbone import Backbone
from gooddrag.features import Frame
from widgets.pointed import Area, Place, PointedPicture
from widgets.still import with_still

MOST_DRAWN = 300  # pictures that an explorer remembers; the oldest goes first
WIDE = {"description_width": "initial"}


class Shown(NamedTuple):
    """A picture, and the sentence that stands below it and speaks for it to those who can't see it.

    `areas` are the parts of the picture where pointing means something to the explorer.
    """

    picture: Image.Image
    text: str
    areas: tuple[Area, ...] = ()


class Explorer(ipw.VBox):
    """Controls, a picture that follows them, and a sentence. Subclasses say in `draw` what the picture is.

    A picture is drawn once for each `position` of the controls. Where the user points at it (or, with `hover`, where
    the pointer is), `point` moves the controls. A stored notebook, where no kernel runs, shows the picture as it was
    when the cell ran.
    """

    hover = False

    def __init__(self, controls: Sequence[Any], below: Sequence[ipw.Widget] = ()):
        self.controls = tuple(controls)
        self.picture = PointedPicture(self._on_place, hover=self.hover, layout=ipw.Layout(max_width="100%"))
        self.note = ipw.HTML()
        self._drawn: dict[Hashable, tuple[bytes, str, tuple[Area, ...]]] = {}
        self._waits = False
        row = ipw.HBox(self.controls, layout=ipw.Layout(flex_flow="row wrap", align_items="center"))
        super().__init__([row, *below, self.picture, self.note])
        for control in self.controls:
            if not isinstance(control, ipw.Button):
                control.observe(lambda _: self.refresh(), "value")
        self.refresh()

    def draw(self) -> Shown:
        """The picture for the controls as they are."""
        raise NotImplementedError

    def point(self, place: Place) -> None:
        """Move the controls to where the user points."""

    @property
    def place(self) -> Place | None:
        """The place on the picture that the controls stand for, from which the arrow keys go on."""
        return None

    @property
    def position(self) -> Hashable:
        """All that the picture depends on."""
        return tuple(control.value for control in self.controls if not isinstance(control, ipw.Button))

    def refresh(self) -> None:
        """Show the picture for the controls as they are, from memory where it has been drawn before."""
        if self._waits:
            return
        at = self.position
        if at not in self._drawn:
            shown = self.draw()
            self._drawn[at] = _png(shown.picture), shown.text, shown.areas
            if len(self._drawn) > MOST_DRAWN:
                del self._drawn[next(iter(self._drawn))]
        png, text, areas = self._drawn[at]
        with self.picture.hold_sync():
            self.picture.value, self.picture.alt = png, text
            self.picture.areas, self.picture.place = list(areas), self.place if areas else None
        self.note.value = html.escape(text)

    @contextmanager
    def together(self) -> Iterator[None]:
        """Move several controls and draw once, at the end."""
        self._waits = True
        try:
            yield
        finally:
            self._waits = False
        self.refresh()

    def _on_place(self, place: Place) -> None:
        with self.together():
            self.point(place)

    @property
    def text(self) -> str:
        """The sentence below the picture."""
        return html.unescape(self.note.value)

    def _repr_mimebundle_(self, **how: Any) -> dict[str, Any]:
        bundle = super()._repr_mimebundle_(**how)
        return with_still(bundle, self.picture.value, f"{type(self).__name__}: {self.text}")


def rendered(figure: LessonFigure) -> Image.Image:
    """A figure → RGB picture, without the second pass that trimming its margins would cost."""
    canvas = FigureCanvasAgg(figure)
    with house_style():
        canvas.draw()
    return Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")


def stacked(*pictures: Image.Image) -> Image.Image:
    """Pictures below each other on white, each in the middle."""
    width, height = max(p.width for p in pictures), sum(p.height for p in pictures)
    sheet = Image.new("RGB", (width, height), "white")
    top = 0
    for picture in pictures:
        sheet.paste(picture, ((width - picture.width) // 2, top))
        top += picture.height
    return sheet


def beside(left: Image.Image, right: Image.Image) -> Image.Image:
    """Two pictures side by side on white, both as high as the first."""
    right = right.resize((round(right.width * left.height / right.height), left.height), Image.Resampling.LANCZOS)
    sheet = Image.new("RGB", (left.width + right.width, left.height), "white")
    sheet.paste(left, (0, 0))
    sheet.paste(right, (left.width, 0))
    return sheet


def nearest(place: Place, points: np.ndarray) -> int:
    """Which of the points (n, 2) is nearest to a place."""
    return int(np.hypot(*(points - (place.x, place.y)).T).argmin())


def numbered(count: int) -> list[tuple[str, int]]:
    """Handles to choose from: people count them from 1, the library from 0."""
    return [(f"{k + 1}", k) for k in range(count)]


def latent_of(backbone: Backbone, image: Image.Image) -> tuple[Frame, Tensor]:
    """How a picture sits on the backbone's grids, and its latent z0 (1, C, h, w)."""
    frame = Frame.fit(image.size, backbone.latent_scale, backbone.image_multiple, backbone.working_side)
    return frame, backbone.encode(frame.to_tensor(image))


def _png(image: Image.Image) -> bytes:
    out = io.BytesIO()
    image.save(out, "PNG", compress_level=3)  # low, since a slider waits for it
    return out.getvalue()
