"""Schedules: when a method drags and when it denoises."""

from __future__ import annotations

from collections.abc import Mapping

from figures.style import LessonFigure, house_style, lines, new_figure
from gooddrag.schedule import Schedule, drags_at


def schedule_strip(schedules: Mapping[str, Schedule]) -> LessonFigure:
    """How many drags each timestep gets, one strip a schedule; small ticks below are the denoise steps."""
    with house_style():
        figure = new_figure(9, 1.1 + 1.15 * len(schedules))
        strips = figure.subplots(len(schedules), 1, sharex=True, sharey=True, squeeze=False)[:, 0]
        for axes, (name, schedule), look in zip(strips, schedules.items(), lines(), strict=False):
            counts = drags_at(schedule)
            axes.bar(range(len(counts)), counts, color=look["color"], width=0.8)
            axes.plot(range(len(counts)), [0] * len(counts), "|", color="black", markersize=7)
            axes.set_title(name, loc="left", fontsize=11)
            axes.grid(axis="x", visible=False)
        strips[len(strips) // 2].set_ylabel("drags")
        strips[-1].set_xlabel("timestep index (0 is the noisiest; each tick is one denoise step)")
    told = "; ".join(f"{name}: {sum(drags_at(s))} drags over {_used(s)} timesteps" for name, s in schedules.items())
    return figure.described(f"Drags at each timestep. {told}.")


def _used(schedule: Schedule) -> int:
    return sum(count > 0 for count in drags_at(schedule))
