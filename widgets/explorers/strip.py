"""A schedule to shape: by K and B, or by hand, timestep for timestep."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import ipywidgets as ipw

import figures
from figures.style import COLOURS, SMALL, house_style
from gooddrag.errors import BadInput
from gooddrag.schedule import Schedule, aldd, drag_then_denoise, drags_at, from_counts
from widgets.explorers.base import WIDE, Explorer, Shown, rendered
from widgets.pointed import Area, Place

RULES = {"alternate (AlDD)": "aldd", "all drags first": "drag_then_denoise"}


class ScheduleStrip(Explorer):
    """When to drag and when to denoise. `schedule` is always what the strip shows.

    Two sliders and a rule lay the drags out. Then paint over the strip: each timestep gets as many drags as the pointer
    is high there, however quickly it goes by; – and +, or the arrow keys on the strip, do the same step by step. The
    next move of a slider lays them out anew.
    """

    def __init__(self, drags: int = 70, timesteps: int = 38, per_denoise: int = 10, supervision_steps: int = 3):
        self.timesteps, self.supervision_steps = timesteps, supervision_steps
        self.counts: tuple[int, ...] = ()
        self.problem = ""
        self.drags = ipw.IntSlider(drags, 0, max(2 * drags, 10), description="K (drags)", style=WIDE)
        most = max(per_denoise, min(drags, 40))
        self.per_denoise = ipw.IntSlider(per_denoise, 1, most, description="B (per denoise step)", style=WIDE)
        self.rule = ipw.Dropdown(options=RULES, description="rule")
        self.chosen = ipw.IntSlider(0, 0, timesteps - 1, description="timestep index", style=WIDE)
        self.fewer, self.more = (
            ipw.Button(description=sign, tooltip=tip, layout=ipw.Layout(width="40px"))
            for sign, tip in (("–", "one drag less at this timestep"), ("+", "one drag more at this timestep"))
        )
        self.fewer.on_click(lambda _: self.change(-1))
        self.more.on_click(lambda _: self.change(+1))
        for control in (self.drags, self.per_denoise, self.rule):
            control.observe(lambda _: self.lay_out(), "value")  # observers run in order: this one before the drawing
        self.lay_out()
        super().__init__([self.drags, self.per_denoise, self.rule, self.chosen, self.fewer, self.more])

    @property
    def schedule(self) -> Schedule:
        """The strip as data, drags numbered through from 1."""
        return from_counts(self.counts)

    @property
    def cost(self) -> str:
        """What the schedule costs, in a sentence."""
        drags, used = sum(self.counts), sum(count > 0 for count in self.counts)
        return (
            f"{_number(drags, 'drag')} at {_number(used, 'timestep')} cost up to "
            f"{_number(drags * self.supervision_steps, 'gradient step')} (J = {self.supervision_steps}) and "
            f"{_number(len(self.counts), 'denoise step')}."
        )

    @property
    def position(self) -> tuple[object, ...]:
        return self.counts, self.chosen.value, self.problem

    def lay_out(self) -> None:
        """Lay the drags out by the rule; where that can't be, say so and leave the strip as it is."""
        try:
            if self.rule.value == "aldd":
                schedule = aldd(self.drags.value, self.per_denoise.value, self.timesteps)
            else:
                schedule = drag_then_denoise(self.drags.value, self.timesteps)
            self.counts, self.problem = drags_at(schedule), ""
        except BadInput as error:
            self.counts = self.counts or (0,) * self.timesteps
            self.problem = f"The strip stays as it was. {error}"

    def change(self, by: int) -> None:
        """More or fewer drags at the chosen timestep; never below 0."""
        at = self.chosen.value
        self._put({at: self.counts[at] + by})

    def point(self, place: Place) -> None:
        self.chosen.value = round(place.x)  # the slider keeps to its ends
        self._put(painted([*place.way, (place.x, place.y)]) | {self.chosen.value: round(place.y)})

    @property
    def place(self) -> Place:
        return Place(0, self.chosen.value, self.counts[self.chosen.value])

    def draw(self) -> Shown:
        figure = figures.schedule_strip({"your schedule": self.schedule})
        axes, at = figure.axes[0], self.chosen.value
        with house_style():
            axes.axvspan(at - 0.5, at + 0.5, color=COLOURS[4], alpha=0.35, zorder=0)
            axes.set_title(f"at timestep index {at}: {_number(self.counts[at], 'drag')}", loc="right", fontsize=SMALL)
            axes.set(xlim=(-1, len(self.counts)), ylim=(0, max(*self.counts, 4) * 1.3))
        return Shown(rendered(figure), f"{self.problem} {self.cost}".strip(), (Area.of(axes),))

    def _put(self, counts: Mapping[int, int]) -> None:
        """Set the drags of some timesteps, never below 0; what lies beyond the strip is passed over."""
        self.counts = tuple(max(0, counts.get(k, count)) for k, count in enumerate(self.counts))
        self.problem = ""
        self.refresh()


def painted(line: Sequence[tuple[float, float]]) -> dict[int, int]:
    """A line through places (timestep index, drags) → drags at each timestep that it passes; where twice, the later."""
    counts = {round(line[0][0]): round(line[0][1])}
    for (x0, y0), (x1, y1) in pairwise(line):
        first, last = round(x0), round(x1)
        way = 1 if last > first else -1
        counts |= {k: round(y0 + (k - x0) / (x1 - x0) * (y1 - y0)) for k in range(first + way, last, way)}
        counts[last] = round(y1)
    return counts


def _number(count: int, word: str) -> str:
    return f"{count} {word}" if count == 1 else f"{count} {word}s"
