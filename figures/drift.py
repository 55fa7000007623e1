"""Drift: how far the features at the handle have strayed from those of the original handle."""

from __future__ import annotations

from collections.abc import Mapping

from figures.style import LessonFigure, house_style, lines, new_figure
from gooddrag.trace import Trace


def drift_curve(traces: Trace | Mapping[str, Trace]) -> LessonFigure:
    """Distance to the target (image px) and feature drift over the drags, mean over the points; one line a trace."""
    named = {"": traces} if isinstance(traces, Trace) else dict(traces)
    with house_style():
        figure = new_figure(9, 3.4)
        left, right = figure.subplots(1, 2)
        for (name, trace), look in zip(named.items(), lines(), strict=False):
            rows = trace.table[trace.table["phase"] != "denoise"].groupby("drag")[["distance", "drift"]].mean()
            left.plot(rows.index, rows["distance"], label=name, **look)
            right.plot(rows.index[1:], rows["drift"][1:], label=name, **look)
        left.set(xlabel="drag", ylabel="distance to the target (px)", ylim=(0, None))
        right.set(xlabel="drag", ylabel="drift (feature difference)", ylim=(0, None))
        if len(named) > 1:
            left.legend()
    ends = "; ".join(_end(name, trace) for name, trace in named.items())
    return figure.described(f"Two curves over the drags: distance to the target and feature drift. {ends}")


def _end(name: str, trace: Trace) -> str:
    rows = trace.table.groupby("drag")["distance"].mean()
    return f"{name or 'The handle'} goes from {rows.iloc[0]:.1f} to {rows.iloc[-1]:.1f} px from its target."
