"""Numbers with their uncertainty: rankings of methods, and the same curve for many tasks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike

from figures.style import COLOURS, SMALL, LessonFigure, house_style, lines, new_figure


def ranking(values: Mapping[str, Sequence[float]], label: str, smaller_is_better: bool = True) -> LessonFigure:
    """Names from best to worst, each with its value (dot) and interval (bar): name → (value, low, high)."""
    names = sorted(values, key=lambda name: values[name][0], reverse=smaller_is_better)  # the best goes to the top
    with house_style():
        figure = new_figure(7.5, 0.9 + 0.6 * len(names))
        axes = figure.subplots()
        for row, name in enumerate(names):
            value, low, high = values[name]
            axes.plot([low, high], [row, row], "-|", color=COLOURS[0], linewidth=3, markersize=14, markeredgewidth=2)
            axes.plot(value, row, "o", color=COLOURS[0], markersize=10, markeredgecolor="white")
            axes.annotate(f"{value:.2f}", (value, row), (0, 9), textcoords="offset points", ha="center", fontsize=SMALL)
        axes.set_yticks(range(len(names)), names)
        better = "smaller" if smaller_is_better else "larger"
        axes.set(xlabel=f"{label}: {better} is better", ylim=(-0.5, len(names) - 0.3))
        axes.margins(x=0.08)
        axes.grid(axis="y", visible=False)
    told = "; ".join(f"{n} {values[n][0]:.2f} [{values[n][1]:.2f}, {values[n][2]:.2f}]" for n in reversed(names))
    return figure.described(f"{label}, from best to worst with intervals: {told}.")


def small_multiples(
    panels: Mapping[str, Mapping[str, ArrayLike]], x_label: str, y_label: str, columns: int = 4
) -> LessonFigure:
    """Many small plots on one scale: title → (name of the line → its values over 0, 1, 2 …)."""
    columns = min(columns, len(panels))
    rows = -(-len(panels) // columns)
    with house_style():
        figure = new_figure(2.6 * columns + 0.5, 2.1 * rows + 0.9)
        grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
        for axes, (title, curves) in zip(grid.ravel(), panels.items(), strict=False):
            for (name, values), look in zip(curves.items(), lines(), strict=False):
                axes.plot(np.asarray(values, float), label=name, **(look | {"linewidth": 1.8, "markersize": 6}))
            axes.set_title(title)
            axes.xaxis.set_major_locator(MaxNLocator("auto", integer=True, steps=[1, 2, 4, 5, 10]))
        _leave_empty(grid, len(panels))
        figure.supxlabel(x_label, fontsize=12)
        figure.supylabel(y_label, fontsize=12)
        handles, names = _legend(grid.flat)
        figure.legend(handles, names, loc="outside upper center", ncols=len(names), handlelength=2.5)
    told = "; ".join(_ends_told(name, panels) for name in names)
    return figure.described(f"{len(panels)} small plots of {y_label} over {x_label}: {', '.join(panels)}. {told}.")


def _leave_empty(grid: np.ndarray, used: int) -> None:
    """Take away the axes that are left over; those above them get the numbers that would stand below."""
    rows, columns = grid.shape
    for axes in grid.ravel()[used:]:
        axes.set_axis_off()
    for column in range(used - (rows - 1) * columns, columns):
        grid[rows - 2, column].tick_params(axis="x", labelbottom=True)


def _legend(grid: Iterable[Axes]) -> tuple[list[Artist], list[str]]:
    """Each line and its name once, though no panel may have them all."""
    found: dict[str, Artist] = {}
    for axes in grid:
        for handle, name in zip(*axes.get_legend_handles_labels(), strict=True):
            found.setdefault(name, handle)
    return list(found.values()), list(found)


def _ends_told(name: str, panels: Mapping[str, Mapping[str, ArrayLike]]) -> str:
    """Between which values a line ends, over the panels that have it."""
    ends = {title: float(np.asarray(curves[name], float)[-1]) for title, curves in panels.items() if name in curves}
    low, high = min(ends, key=lambda t: ends[t]), max(ends, key=lambda t: ends[t])
    return f"{name} ends between {ends[low]:.2f} ({low}) and {ends[high]:.2f} ({high})"
