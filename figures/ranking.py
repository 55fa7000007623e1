"""Numbers with their uncertainty: rankings of methods, and the same curve for many tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike

from figures.style import COLOURS, LessonFigure, house_style, lines, new_figure


def ranking(values: Mapping[str, Sequence[float]], label: str, smaller_is_better: bool = True) -> LessonFigure:
    """Names from best to worst, each with its value (dot) and interval (bar): name → (value, low, high)."""
    names = sorted(values, key=lambda name: values[name][0], reverse=smaller_is_better)  # the best goes to the top
    with house_style():
        figure = new_figure(7, 1.0 + 0.55 * len(names))
        axes = figure.subplots()
        for row, name in enumerate(names):
            value, low, high = values[name]
            axes.plot([low, high], [row, row], "-", color=COLOURS[0], linewidth=4, alpha=0.45)
            axes.plot(value, row, "o", color=COLOURS[0], markersize=9)
            axes.annotate(f"{value:.2f}", (value, row), (0, 9), textcoords="offset points", ha="center", fontsize=10)
        axes.set_yticks(range(len(names)), names)
        axes.set(xlabel=f"{label} ({'smaller' if smaller_is_better else 'larger'} is better)", ylim=(-0.6, len(names)))
        axes.grid(axis="y", visible=False)
    told = "; ".join(f"{n} {values[n][0]:.2f} [{values[n][1]:.2f}, {values[n][2]:.2f}]" for n in reversed(names))
    return figure.described(f"{label}, from best to worst with intervals: {told}.")


def small_multiples(
    panels: Mapping[str, Mapping[str, ArrayLike]], x_label: str, y_label: str, columns: int = 4
) -> LessonFigure:
    """Many small plots on one scale: title → (name of the line → its values over 0, 1, 2 …)."""
    rows = -(-len(panels) // columns)
    with house_style():
        figure = new_figure(2.6 * columns, 2.1 * rows + 0.7)
        grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
        for axes in grid.ravel()[len(panels) :]:
            axes.set_axis_off()
        for axes, (title, curves) in zip(grid.ravel(), panels.items(), strict=False):
            for (name, values), look in zip(curves.items(), lines(), strict=False):
                axes.plot(np.asarray(values, float), label=name, **(look | {"linewidth": 1.6}))
            axes.set_title(title, fontsize=10)
        figure.supxlabel(x_label, fontsize=12)
        figure.supylabel(y_label, fontsize=12)
        names, handles = grid[0, 0].get_legend_handles_labels()[::-1]
        figure.legend(handles, names, loc="outside upper center", ncols=len(names))
    return figure.described(f"{len(panels)} small plots of {y_label} over {x_label}: {', '.join(panels)}.")
