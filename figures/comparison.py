"""Pictures side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

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


def sheet(
    rows: Mapping[str, Sequence[Image.Image]],
    columns: Sequence[str] = ("source", "edit", "truth"),
    height: float = 2.0,
) -> LessonFigure:
    """A table of pictures, one row a task: what it was, what became of it, what it should have become."""
    first = next(iter(rows.values()))[0]
    with house_style():
        figure = new_figure(len(columns) * height * first.width / first.height + 1.2, len(rows) * height + 0.4)
        grid = figure.subplots(len(rows), len(columns), squeeze=False)
        for line, (name, pictures) in zip(grid, rows.items(), strict=True):
            for axes, picture in zip(line, pictures, strict=True):
                axes.imshow(np.asarray(picture), interpolation="bicubic")
                axes.set(xticks=[], yticks=[])
                axes.spines[:].set_visible(False)
            line[0].set_ylabel(name, rotation=0, ha="right", va="center")
        for axes, title in zip(grid[0], columns, strict=True):
            axes.set_title(title)
    return figure.described(f"A table of pictures with the columns {', '.join(columns)} for: {', '.join(rows)}.")
