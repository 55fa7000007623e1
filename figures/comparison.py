"""Pictures side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from PIL import Image

from figures.style import LessonFigure, house_style, new_figure
from gooddrag.errors import BadInput

LETTER = 0.095  # inches that a letter of a row's name takes


def before_after(pictures: Mapping[str, Image.Image], height: float = 3.6) -> LessonFigure:
    """Titled pictures in a row, small ones enlarged smoothly."""
    widths = [height * p.width / p.height for p in pictures.values()]
    with house_style():
        figure = new_figure(sum(widths), height + 0.4)
        row = figure.subplots(1, len(pictures), squeeze=False, width_ratios=widths)[0]
        for axes, (title, picture) in zip(row, pictures.items(), strict=True):
            _show(axes, picture)
            axes.set_title(title)
    first, *others = pictures.items()
    told = "".join(f" {name} {_difference(first[1], picture)} {first[0]}." for name, picture in others)
    return figure.described(f"Pictures side by side: {', '.join(pictures)}.{told}")


def sheet(
    rows: Mapping[str, Sequence[Image.Image]],
    columns: Sequence[str] = ("source", "edit", "truth"),
    height: float = 2.0,
) -> LessonFigure:
    """A table of pictures, one row a task: what it was, what became of it, what it should have become."""
    for name, pictures in rows.items():
        if len(pictures) != len(columns):
            raise BadInput(f"The row '{name}' has {len(pictures)} pictures: give one each for {', '.join(columns)}.")
    first = next(iter(rows.values()))[0]
    names = LETTER * max(len(line) for name in rows for line in name.split("\n")) + 0.2
    with house_style():
        figure = new_figure(len(columns) * height * first.width / first.height + names, len(rows) * height + 0.3)
        grid = figure.subplots(len(rows), len(columns), squeeze=False)
        for line, (name, pictures) in zip(grid, rows.items(), strict=True):
            for axes, picture in zip(line, pictures, strict=True):
                _show(axes, picture)
            line[0].text(-0.06, 0.5, name, ha="right", va="center", transform=line[0].transAxes)
        for axes, title in zip(grid[0], columns, strict=True):
            axes.set_title(title)
    told = "; ".join(f"{name}: {_row_told(columns, pictures)}" for name, pictures in rows.items())
    return figure.described(f"A table of pictures with the columns {', '.join(columns)}. {told}.")


def _show(axes: Axes, picture: Image.Image) -> None:
    axes.imshow(np.asarray(picture), cmap="gray", interpolation="bicubic")  # the map is for pictures without colour
    axes.set_axis_off()


def _row_told(columns: Sequence[str], pictures: Sequence[Image.Image]) -> str:
    """How each picture of a row differs from its first one."""
    others = zip(columns[1:], pictures[1:], strict=True)
    return ", ".join(f"{title} {_difference(pictures[0], picture)} {columns[0]}" for title, picture in others)


def _difference(one: Image.Image, other: Image.Image) -> str:
    """In words, to go between the names of the second picture and the first."""
    if one.size != other.size:
        return f"({other.width}×{other.height} px) has another size than"
    levels = np.abs(np.asarray(one.convert("RGB"), float) - np.asarray(other.convert("RGB"), float)).mean(2)
    if not levels.any():
        return "is the same as"
    changed = (levels > 16).mean()
    return (
        f"differs by {levels.mean():.1f} of 255 levels on average (by more than 16 at {changed:.0%} of the pixels) from"
    )
