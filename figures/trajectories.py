"""Where the handles went, drawn on the picture."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from PIL import Image

from figures.style import COLOURS, SMALL, LessonFigure, halo, house_style, new_figure
from gooddrag.trace import Trace


class _Way(NamedTuple):
    """One handle's way: its number from 1, where it was (n, 2) and its target (2,), in image px."""

    number: int
    places: np.ndarray
    target: np.ndarray


def trajectories(image: Image.Image, trace: Trace) -> LessonFigure:
    """The tracked way of each handle (line) from its numbered start (dot) towards its target (ring), on a picture.

    A thin dotted line is what was left to go.
    """
    ways = list(_ways(trace))
    with house_style():
        figure = new_figure(4.8, 4.8 * image.height / image.width)
        axes = figure.subplots()
        axes.imshow(np.asarray(image), interpolation="bicubic")
        axes.set(xlim=(-0.5, image.width - 0.5), ylim=(image.height - 0.5, -0.5))
        axes.set_axis_off()
        for way in ways:
            _draw(axes, way)
    told = "; ".join(_told(way) for way in ways)
    return figure.described(f"The tracked way of {len(ways)} handle(s) on the picture, in px: {told}.")


def _ways(trace: Trace) -> Iterator[_Way]:
    for number, (point, rows) in enumerate(trace.table.groupby("point"), start=1):
        places = trace.path(int(str(point)))[["x", "y"]].to_numpy(float)
        yield _Way(number, places, rows[["target_x", "target_y"]].iloc[0].to_numpy(float))


def _draw(axes: Axes, way: _Way) -> None:
    colour = COLOURS[(way.number - 1) % len(COLOURS)]
    start, end = way.places[0], way.places[-1]
    axes.plot(*np.stack([end, way.target]).T, ":", color="black", linewidth=1.4, path_effects=halo(0)[1:])
    ring = {"markerfacecolor": "none", "markeredgecolor": colour, "markeredgewidth": 2.2, "markersize": 12}
    axes.plot(*way.target, "o", path_effects=halo(), **ring)
    axes.plot(*way.places.T, "-", color=colour, solid_capstyle="round", path_effects=halo())
    axes.plot(*start, "o", color=colour, markersize=9, markeredgecolor="white", markeredgewidth=1.5)
    aside = {"xytext": (8, -4), "textcoords": "offset points", "fontsize": SMALL, "fontweight": "bold"}
    axes.annotate(f"{way.number}", (start[0], start[1]), path_effects=halo(0)[1:], **aside)


def _told(way: _Way) -> str:
    (x0, y0), (x, y) = way.places[0], way.places[-1]
    left = float(np.hypot(*(way.target - way.places[-1])))
    return f"{way.number} from ({x0:.0f}, {y0:.0f}) to ({x:.0f}, {y:.0f}), {left:.1f} from its target"
