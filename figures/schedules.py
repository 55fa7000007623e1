"""Schedules: when a method drags and when it denoises."""

from __future__ import annotations

from collections.abc import Mapping

from figures.style import LessonFigure, house_style, lines, new_figure
from gooddrag.schedule import Schedule, drags_at


def schedule_strip(schedules: Mapping[str, Schedule]) -> LessonFigure:
    """How many drags each timestep gets (bars), one strip a schedule; each small ring on the axis is a denoise step."""
    with house_style():
        figure = new_figure(9, 0.9 + 1.25 * len(schedules))
        strips = figure.subplots(len(schedules), 1, sharex=True, sharey=True, squeeze=False)[:, 0]
        for axes, (name, schedule), look in zip(strips, schedules.items(), lines(), strict=False):
            counts = drags_at(schedule)
            axes.bar(range(len(counts)), counts, color=look["color"], width=0.8)
            ring = {"color": "black", "markerfacecolor": "white", "markersize": 5, "clip_on": False, "zorder": 3}
            axes.plot(range(len(counts)), [0] * len(counts), "o", **ring)
            axes.set_title(name, loc="left")
            axes.grid(axis="x", visible=False)
            axes.tick_params(axis="x", pad=6)
        figure.supylabel("drags", fontsize=12)
        strips[-1].set_xlabel("timestep index (0 is the noisiest; each ring is a denoise step)")
    told = "; ".join(f"{name}: {_told(schedule)}" for name, schedule in schedules.items())
    return figure.described(f"Drags at each timestep. {told}.")


def _told(schedule: Schedule) -> str:
    counts = drags_at(schedule)
    used = [at for at, count in enumerate(counts) if count]
    if not used:
        return f"no drags, {len(counts)} denoise steps"
    where = f"timestep index {used[0]}" if len(used) == 1 else f"{len(used)} timesteps, indices {used[0]} to {used[-1]}"
    return f"{sum(counts)} drags at {where}, at most {max(counts)} at one; {len(counts)} denoise steps"
