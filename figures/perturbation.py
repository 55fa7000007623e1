"""Perturbation: how far the edit's latent is from the source's at the same noise level."""

from __future__ import annotations

from collections.abc import Mapping

from figures.style import LessonFigure, house_style, lines, new_figure
from gooddrag.trace import Trace

SIDES = {"inside": "perturbation_inside", "outside": "perturbation_outside"}


def perturbation_curve(traces: Trace | Mapping[str, Trace]) -> LessonFigure:
    """RMS of edit minus source inside the mask over all steps; dots mark drags, so plain line pieces are denoising."""
    named = {"": traces} if isinstance(traces, Trace) else dict(traces)
    with house_style():
        figure = new_figure(9, 3.4)
        axes = figure.subplots()
        for (name, trace), look in zip(named.items(), lines(), strict=False):
            rows = trace.table[trace.table["point"] == 0].reset_index(drop=True)
            axes.plot(rows.index, rows["perturbation_inside"], label=name or "inside the mask", **look)
            if not rows["perturbation_outside"].isna().all():
                axes.plot(
                    rows.index,
                    rows["perturbation_outside"],
                    label=f"{name} outside".strip(),
                    color=look["color"],
                    ls=":",
                    alpha=0.7,
                )
            drags = rows[rows["phase"] == "drag"]
            axes.plot(drags.index, drags["perturbation_inside"], ".", color=look["color"], markersize=6)
        axes.set(xlabel="step (dots: drags, between them: denoise steps)", ylabel="edit − source (RMS)", ylim=(0, None))
        axes.legend()
    return figure.described("Perturbation of the latent over all steps of the edit: it grows while dragging.")


def perturbation_by_timestep(traces: Trace | Mapping[str, Trace]) -> LessonFigure:
    """What each timestep adds and takes away, inside the mask (left) and outside (right).

    A line goes through the perturbation that each denoise step leaves; the bar above a timestep reaches up to the most
    that the drags there had piled up.
    """
    named = {"": traces} if isinstance(traces, Trace) else dict(traces)
    with house_style():
        figure = new_figure(9, 3.4)
        panels = figure.subplots(1, 2, sharey=True)
        for axes, (side, column) in zip(panels, SIDES.items(), strict=True):
            for (name, trace), look in zip(named.items(), lines(), strict=False):
                rows = trace.table[trace.table["point"] == 0]
                left = rows[rows["phase"] == "denoise"].groupby("at")[column].last()
                most = rows[rows["phase"] == "drag"].groupby("at")[column].max()
                axes.plot(left.index, left, label=name, **look)
                axes.vlines(most.index, left.reindex(most.index), most, color=look["color"], linewidth=4, alpha=0.45)
            axes.set(xlabel="timestep index (0 is the noisiest)", title=f"{side} the mask", ylim=(0, None))
        panels[0].set_ylabel("edit − source (RMS)")
        if len(named) > 1:
            panels[0].legend()
    return figure.described("Perturbation at each timestep, inside and outside the mask: bars are what drags pile up.")
