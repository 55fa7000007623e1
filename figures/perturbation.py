"""Perturbation: how far the edit's latent is from the source's at the same noise level (edit minus source path)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from figures.style import LessonFigure, house_style, lines, named, new_figure
from gooddrag.trace import Trace

SIDES = {"inside": "perturbation_inside", "outside": "perturbation_outside"}


def perturbation_curve(traces: Trace | Mapping[str, Trace]) -> LessonFigure:
    """RMS of edit minus source over all steps, inside the mask (thick, filled markers) and outside (thin, hollow).

    Ticks across the line mark drags, so plain pieces of it are denoising.
    """
    runs = {name: _rows(trace) for name, trace in named(traces).items()}
    with house_style():
        figure = new_figure(9, 3.6)
        axes = figure.subplots()
        for (name, rows), look in zip(runs.items(), lines(), strict=False):
            inside, outside = (f"{name}, {side}" if name else f"{side} the mask" for side in SIDES)
            axes.plot(rows.index, rows["perturbation_inside"], label=inside, **look)
            if not rows["perturbation_outside"].isna().all():
                hollow = {"linewidth": 1.2, "markerfacecolor": "white", "markeredgecolor": look["color"]}
                axes.plot(rows.index, rows["perturbation_outside"], label=outside, **(look | hollow))
            drags = rows[rows["phase"] == "drag"]
            axes.plot(drags.index, drags["perturbation_inside"], "|", color="black", markersize=8)
        axes.set(
            xlabel="step (ticks on the line: drags; without: denoise steps)",
            ylabel="edit − source (RMS)",
            ylim=(0, None),
        )
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
        axes.legend()
    told = " ".join(f"{name or 'The edit'}: {_ends(rows)}." for name, rows in runs.items())
    return figure.described(f"Perturbation of the latent over all steps of the edit. {told}")


def perturbation_by_timestep(traces: Trace | Mapping[str, Trace]) -> LessonFigure:
    """What the drags at each timestep add (bars), and what denoising makes of it (line): inside and outside the mask.

    A bar stands on the perturbation with which a timestep is entered and ends at what its last drag leaves. The line
    goes through the perturbation at every noise level of the way down, which ends at the finished picture.
    """
    runs = {name: _rows(trace) for name, trace in named(traces).items()}
    with house_style():
        figure = new_figure(9, 3.6)
        panels = figure.subplots(1, 2, sharey=True)
        for axes, (side, column) in zip(panels, SIDES.items(), strict=True):
            for k, ((name, rows), look) in enumerate(zip(runs.items(), lines(), strict=False)):
                _draw_levels(axes, rows, column, look | {"label": name}, shift=0.4 * (k - (len(runs) - 1) / 2))
            axes.set(xlabel="noise level (0 is the noisiest)", title=f"{side} the mask", ylim=(0, None))
            axes.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
            if all(rows[column].isna().all() for rows in runs.values()):
                axes.text(0.5, 0.5, "everything may change", ha="center", transform=axes.transAxes)
        panels[0].set_ylabel("edit − source (RMS)")
        if len(runs) > 1:
            panels[0].legend()
    told = " ".join(f"{name or 'The edit'}: {_most(rows)}; {_ends(rows)}." for name, rows in runs.items())
    return figure.described(f"Perturbation at each noise level; bars are what the drags there add. {told}")


def _rows(trace: Trace) -> pd.DataFrame:
    """One row a step: perturbation is the same for all points."""
    return trace.table[trace.table["point"] == 0].reset_index(drop=True)


def _draw_levels(axes: Axes, rows: pd.DataFrame, column: str, look: dict[str, Any], shift: float) -> None:
    """The line of one trace and its bars, which are moved aside by `shift` levels to stand beside another trace's."""
    levels, added = _levels(rows, column), _after_drags(rows, column)
    axes.plot(levels.index, levels, **look)
    bars = {"color": look["color"], "linestyle": look["linestyle"], "linewidth": 3.5}
    axes.vlines(added.index + shift, levels.reindex(added.index), added, **bars)


def _levels(rows: pd.DataFrame, column: str) -> pd.Series:
    """Perturbation by noise level: 0 at the start, i + 1 after the denoise step of timestep index i."""
    undragged = rows[rows["phase"] != "drag"]
    return undragged[column].set_axis(undragged["at"] + (undragged["phase"] == "denoise"))


def _after_drags(rows: pd.DataFrame, column: str) -> pd.Series:
    """Perturbation after the last drag at each timestep that has drags, by timestep index."""
    return rows[rows["phase"] == "drag"].groupby("at")[column].last()


def _ends(rows: pd.DataFrame) -> str:
    drags, last = rows[rows["phase"] == "drag"], rows.iloc[-1]
    text = f"inside the mask it is {last['perturbation_inside']:.2f} in the end"
    if len(drags):
        text += f" ({drags['perturbation_inside'].iloc[-1]:.2f} after the last of {len(drags)} drags)"
    outside = last["perturbation_outside"]
    return text + (f", outside {outside:.2f}" if pd.notna(outside) else "")


def _most(rows: pd.DataFrame) -> str:
    column = SIDES["inside"]
    added = (_after_drags(rows, column) - _levels(rows, column)).dropna()
    if added.empty:
        return "there are no drags"
    return f"the drags add most, {added.max():.2f}, at timestep index {added.idxmax()}"
