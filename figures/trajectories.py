"""Where the handles went, drawn on the picture."""

from __future__ import annotations

import numpy as np
from PIL import Image

from figures.style import COLOURS, LessonFigure, house_style, new_figure
from gooddrag.trace import Trace


def trajectories(image: Image.Image, trace: Trace) -> LessonFigure:
    """The tracked way of each handle (line) from its start (dot) towards its target (ring), on a picture."""
    with house_style():
        figure = new_figure(4.6, 4.6 * image.height / image.width)
        axes = figure.subplots()
        axes.imshow(np.asarray(image), interpolation="bicubic")
        axes.set_axis_off()
        for point, rows in trace.table.groupby("point"):
            way = trace.path(int(str(point)))
            colour = COLOURS[int(str(point)) % len(COLOURS)]
            goal = rows.iloc[0]
            axes.plot(way["x"], way["y"], "-", color="white", linewidth=4)
            axes.plot(way["x"], way["y"], "-", color=colour)
            axes.plot(way["x"].iloc[0], way["y"].iloc[0], "o", color=colour, markeredgecolor="white", markersize=9)
            ring = {"markerfacecolor": "none", "markeredgewidth": 2.5, "markersize": 13}
            axes.plot(goal["target_x"], goal["target_y"], "o", markeredgecolor=colour, **ring)
    count = trace.table["point"].nunique()
    return figure.described(f"The picture with the tracked way of {count} handle(s): dots are starts, rings targets.")
