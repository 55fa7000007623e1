"""Perturbation: how far the edit's latent is from the source's at the same noise level."""

from __future__ import annotations

from collections.abc import Mapping

from figures.style import LessonFigure, house_style, lines, new_figure
from gooddrag.trace import Trace


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
