"""Drift: how far the features at the handle have strayed from those of the original handle."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
from matplotlib.ticker import MaxNLocator

from figures.style import LessonFigure, house_style, lines, named, new_figure
from gooddrag.trace import Trace


def drift_curve(traces: Trace | Mapping[str, Trace]) -> LessonFigure:
    """Distance to the target (image px) and feature drift over the drags, mean over the points; one line a trace."""
    means = {name: _means(trace) for name, trace in named(traces).items()}
    with house_style():
        figure = new_figure(9, 3.4)
        left, right = figure.subplots(1, 2, sharex=True)
        for (name, rows), look in zip(means.items(), lines(), strict=False):
            left.plot(rows.index, rows["distance"], label=name, **look)
            right.plot(rows.index[1:], rows["drift"][1:], label=name, **look)
        left.set(xlabel="drags done", ylabel="distance to the target (px)", ylim=(0, None))
        right.set(xlabel="drags done", ylabel="drift (feature difference)", ylim=(0, None))
        left.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
        if len(means) > 1:
            right.legend(loc="lower right")
    ends = " ".join(_told(name, rows) for name, rows in means.items())
    return figure.described(f"Two curves over the drags: distance to the target, and feature drift. {ends}")


def _means(trace: Trace) -> pd.DataFrame:
    """Mean over the points by number of drags: columns distance, drift. Row 0 is the start."""
    return trace.table[trace.table["phase"] != "denoise"].groupby("drag")[["distance", "drift"]].mean()


def _told(name: str, rows: pd.DataFrame) -> str:
    distance, drift = rows["distance"], rows["drift"][1:]
    who = f"{name}: in" if name else "In"
    text = f"{who} {len(drift)} drags the handles go from {distance.iloc[0]:.1f} to {distance.iloc[-1]:.1f} px from "
    text += "their targets on average"
    if not len(drift):
        return text + "."
    return (
        text + f"; drift is greatest, {drift.max():.2f}, at drag {drift.idxmax()} and {drift.iloc[-1]:.2f} in the end."
    )
