"""What changing a setting does: differences from what is usual, task by task, with the interval of their mean."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike

from figures.style import COLOURS, LessonFigure, house_style, new_figure
from gooddrag.bench.statistics import Estimate, estimate

ROW, TITLE = 0.42, 0.5  # inches


def effects(panels: Mapping[str, Mapping[str, ArrayLike]], label: str, smaller_is_better: bool = True) -> LessonFigure:
    """Differences from the usual settings, one panel an experiment, one row a setting: title → setting → tasks.

    Hollow dots are single tasks. The bar is the 95 % interval of their mean, thick where it leaves out 0.
    """
    means = {title: {name: estimate(d, np.mean) for name, d in rows.items()} for title, rows in panels.items()}
    heights = [ROW * len(rows) + TITLE for rows in panels.values()]
    with house_style():
        figure = new_figure(8.5, sum(heights) + 0.5)
        grid = figure.subplots(len(panels), 1, sharex=True, squeeze=False, height_ratios=heights)[:, 0]
        for axes, (title, rows) in zip(grid, panels.items(), strict=True):
            _panel(axes, rows, means[title])
            axes.set_title(title, loc="left")
        better = "smaller" if smaller_is_better else "larger"
        grid[-1].set_xlabel(f"difference in {label}: {better} is better")
    told = "; ".join(f"{title}: {_told(rows)}" for title, rows in means.items())
    return figure.described(f"Differences in {label} from the usual settings, mean with interval. {told}.")


def _panel(axes: Axes, rows: Mapping[str, ArrayLike], means: Mapping[str, Estimate]) -> None:
    axes.axvline(0, color="black", linewidth=1.2, linestyle="--")
    for row, (name, each) in enumerate(rows.items()):
        e = means[name]
        clear = e.low > 0 or e.high < 0
        colour, width, marker = (COLOURS[1], 6, "D") if clear else (COLOURS[0], 2.2, "o")
        d = np.asarray(each, float)
        axes.plot(d, np.full(len(d), row + 0.24), "o", color="white", markeredgecolor="#666666", markersize=6)
        axes.plot([e.low, e.high], [row, row], "-", color=colour, linewidth=width, solid_capstyle="butt")
        axes.plot(e.value, row, marker, color=colour, markersize=10, markeredgecolor="white")
    axes.set_yticks(range(len(rows)), list(rows))
    axes.set_ylim(len(rows) - 0.4, -0.5)
    axes.grid(axis="y", visible=False)


def _told(means: Mapping[str, Estimate]) -> str:
    return ", ".join(f"{name} {e.value:+.2f} [{e.low:+.2f}, {e.high:+.2f}]" for name, e in means.items())
