"""A picture that says where on it the user points: with mouse, pen, finger or the arrow keys.

Python holds the picture and its areas; pointed.js hears the pointer. A new place is reported only after the last one
has been dealt with, so a slow drawing follows the pointer without falling behind.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import anywidget
import traitlets
from matplotlib.axes import Axes


class Area(NamedTuple):
    """A part of a picture in which pointing has a meaning: a box in px, and the values at its edges."""

    left: float
    top: float
    width: float
    height: float
    x: tuple[float, float]  # at the left and at the right edge
    y: tuple[float, float]  # at the top and at the bottom edge

    @classmethod
    def of(cls, axes: Axes) -> Area:
        """Where axes lie in the drawn picture of their figure, and their limits. Draw the figure first."""
        box, (x0, x1), (y0, y1) = axes.bbox, axes.get_xlim(), axes.get_ylim()
        height = axes.get_figure(root=True).bbox.height  # type: ignore[union-attr]
        return cls(box.x0, height - box.y1, box.width, box.height, (x0, x1), (y1, y0))

    def moved(self, right: float, down: float, scale: float = 1) -> Area:
        """The area after the picture was enlarged `scale` times and put elsewhere."""
        sides = (scale * self.left + right, scale * self.top + down, scale * self.width, scale * self.height)
        return Area(*sides, self.x, self.y)


class Place(NamedTuple):
    """Where the user points: which area (from 0), and the values there.

    `way` holds the values (x, y) where the pressed pointer has been since the last report, the place of that included.
    """

    area: int
    x: float
    y: float
    way: tuple[tuple[float, float], ...] = ()


class PointedPicture(anywidget.AnyWidget):
    """A PNG that reports places on it.

    Parameters
    ----------
    heard
        Called with each `Place` the user points at.
    **traits
        Any of the attributes below.

    Attributes
    ----------
    value
        The PNG.
    alt
        What it shows, for those who can't see it.
    areas
        Where pointing means something.
    place
        The place that the picture shows now: arrow keys go on from there, one unit each (ten with Shift).
    hover
        True: moving the pointer is enough. False: it has to be pressed.
    """

    _esm = Path(__file__).parent / "pointed.js"
    _css = Path(__file__).parent / "pointed.css"

    value = traitlets.Bytes(b"").tag(sync=True)
    alt = traitlets.Unicode("").tag(sync=True)
    areas = traitlets.List(traitlets.Any()).tag(sync=True)
    place = traitlets.Any(None).tag(sync=True)
    hover = traitlets.Bool(False).tag(sync=True)
    _asked = traitlets.List([0, 0, 0.0, 0.0]).tag(sync=True)  # number of the question, area, x, y; then the way
    _answered = traitlets.Int(0).tag(sync=True)

    def __init__(self, heard: Callable[[Place], None], **traits: Any):
        super().__init__(**traits)
        self._heard = heard

    @traitlets.observe("_asked")
    def _answer(self, change: Any) -> None:
        number, area, x, y, *way = change["new"]
        try:
            if 0 <= area < len(self.areas):  # else the picture has changed since
                self._heard(Place(int(area), float(x), float(y), tuple((float(x), float(y)) for x, y in way)))
        finally:
            self._answered = int(number)
