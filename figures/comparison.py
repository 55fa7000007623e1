"""Pictures side by side."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from PIL import Image

from figures.style import LessonFigure, house_style, new_figure


def before_after(pictures: Mapping[str, Image.Image], height: float = 3.6) -> LessonFigure:
    """Titled pictures in a row, small ones enlarged smoothly."""
    widths = [height * p.width / p.height for p in pictures.values()]
    with house_style():
        figure = new_figure(sum(widths), height + 0.4)
        row = figure.subplots(1, len(pictures), squeeze=False, width_ratios=widths)[0]
        for axes, (title, picture) in zip(row, pictures.items(), strict=True):
            axes.imshow(np.asarray(picture), interpolation="bicubic")
            axes.set_title(title)
            axes.set_axis_off()
    return figure.described("Pictures side by side: " + ", ".join(pictures) + ".")
