"""Feature similarity: where else in the picture does it look, to the network, like here?"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike
from PIL import Image

from figures.style import LessonFigure, house_style, new_figure


def similarity_maps(image: Image.Image, maps: Mapping[str, ArrayLike], at: tuple[float, float]) -> LessonFigure:
    """Heat maps over a picture, one for each source of features; brighter is more alike, the cross is the question.

    Parameters
    ----------
    maps
        Titles and arrays (h, w) of any resolution; a map is stretched over the whole picture, and its own range.
    at
        The point that everything is compared with, in image px.
    """
    height = 3.4
    with house_style():
        figure = new_figure(len(maps) * height * image.width / image.height, height + 0.4)
        for axes, (title, values) in zip(figure.subplots(1, len(maps), squeeze=False)[0], maps.items(), strict=True):
            axes.imshow(np.asarray(image.convert("L")), cmap="gray", interpolation="bicubic")
            frame = (-0.5, image.width - 0.5, image.height - 0.5, -0.5)
            heat = np.asarray(values, float)
            axes.imshow(heat, cmap="inferno", alpha=0.65, extent=frame, interpolation="bilinear")
            axes.plot(*at, "+", color="white", markersize=18, markeredgewidth=4)
            axes.plot(*at, "+", color="black", markersize=16, markeredgewidth=1.8)
            axes.set(title=title, xlim=frame[:2], ylim=frame[2:])
            axes.set_axis_off()
    text = f"Feature similarity to the point ({at[0]:.0f}, {at[1]:.0f}) of the picture, for: {', '.join(maps)}."
    return figure.described(text)
