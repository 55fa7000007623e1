"""Feature similarity: where else in the picture does it look, to the network, like here?"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.image import AxesImage
from numpy.typing import ArrayLike
from PIL import Image

from figures.style import LessonFigure, house_style, new_figure


def similarity_maps(
    image: Image.Image, maps: Mapping[str, ArrayLike], at: tuple[float, float], what: str = "Feature similarity"
) -> LessonFigure:
    """Heat maps over a picture, one for each source of features; brighter is more alike, the cross is the question.

    Parameters
    ----------
    maps
        Titles and arrays (h, w) of any resolution; a map is stretched over the whole picture and keeps its cells. Each
        has a scale of its own.
    at
        The point that everything is compared with, in image px.
    what
        What the maps show, for the alt text.
    """
    height = 3.2
    heats = {title: np.asarray(values, float) for title, values in maps.items()}
    with house_style():
        figure = new_figure(len(maps) * height * image.width / image.height, height + 0.9)
        for axes, (title, heat) in zip(figure.subplots(1, len(maps), squeeze=False)[0], heats.items(), strict=True):
            axes.imshow(subdued(image), cmap="gray", vmin=0, vmax=255, interpolation="bicubic")
            seen = framed(axes, image, heat)
            axes.plot(*at, "+", color="white", markersize=18, markeredgewidth=5)
            axes.plot(*at, "+", color="black", markersize=16, markeredgewidth=2)
            axes.set_title(title)
            ends = sorted({float(heat.min()), float(heat.max())})
            figure.colorbar(seen, ax=axes, location="bottom", ticks=ends, format="%.2f", shrink=0.8, pad=0.02)
    told = "; ".join(f"{title}: {_told(heat, image, at)}" for title, heat in heats.items())
    return figure.described(f"{what} to the point ({at[0]:.0f}, {at[1]:.0f}) of the picture. {told}.")


def subdued(image: Image.Image) -> np.ndarray:
    """A picture as grey values (h, w) from 50 to 220: heat that is laid over it stays readable."""
    return 50 + np.asarray(image.convert("L"), float) * 170 / 255


def framed(axes: Axes, image: Image.Image, heat: np.ndarray) -> AxesImage:
    """Lay heat (h, w) over the whole of a picture that the axes show, cell by cell, and fit the axes to the picture."""
    frame = (-0.5, image.width - 0.5, image.height - 0.5, -0.5)
    seen = axes.imshow(heat, cmap="inferno", alpha=0.6, extent=frame, interpolation="nearest")
    axes.set(xlim=frame[:2], ylim=frame[2:])
    axes.set_axis_off()
    return seen


def _told(heat: np.ndarray, image: Image.Image, at: tuple[float, float]) -> str:
    """The range of a map, and its best place besides the point's own cell and that cell's neighbours."""
    scale = np.array([heat.shape[1], heat.shape[0]]) / image.size  # cells per px
    own = np.clip((np.asarray(at) + 0.5) * scale, 0, np.array(heat.shape[::-1]) - 1).astype(int)
    rows, columns = np.indices(heat.shape)
    far = np.maximum(abs(columns - own[0]), abs(rows - own[1])) > 1
    text = f"{heat.min():.2f} to {heat.max():.2f}"
    if not far.any():
        return text
    row, column = np.unravel_index(np.where(far, heat, -np.inf).argmax(), heat.shape)
    x, y = (np.array([column, row]) + 0.5) / scale - 0.5
    return text + f", elsewhere most alike ({heat[row, column]:.2f}) around ({x:.0f}, {y:.0f})"
