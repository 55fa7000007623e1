"""An experiment to fill in: which setting, which values, how many tasks; then what it does, against the usual value."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from typing import Any, NamedTuple

import ipywidgets as ipw
import numpy as np
from PIL import Image

import figures
from gooddrag.backbone import Backbone
from gooddrag.bench.statistics import estimate
from gooddrag.editor import iter_edit
from gooddrag.measures import MEASURES, Edited, measure
from gooddrag.methods import Method
from gooddrag.pocket.tasks import KnownTask
from gooddrag.steps import Finished
from widgets.explorers.base import WIDE, Explorer, Shown, rendered, stacked

USUAL = "as it is"
MOST_SHOWN = 3  # tasks whose pictures are shown


class Tried(NamedTuple):
    """One edit that was made: its picture, and what was measured."""

    picture: Image.Image
    numbers: dict[str, float]


class ExperimentForm(Explorer):
    """Change one setting of a method on tasks with a known truth, and see the differences task by task.

    `choices` are the settings to choose from and the values to try. Nothing is computed before you press Run, and no
    edit twice.
    """

    def __init__(
        self, backbone: Backbone, tasks: Sequence[KnownTask], base: Method, choices: Mapping[str, Sequence[Any]]
    ):
        self.backbone, self.known, self.base, self.choices = backbone, tuple(tasks), base, dict(choices)
        self.tried: dict[tuple[str, int], Tried] = {}
        self._running: asyncio.Task[None] | None = None
        first = next(iter(self.choices))
        self.setting: Any = ipw.Dropdown(options=list(self.choices), description="setting")
        self.values: Any = ipw.SelectMultiple(options=self._options(first), rows=4, description="values")
        self.values.value = tuple(self.choices[first])
        self.tasks = ipw.IntSlider(min(2, len(tasks)), 1, len(tasks), description="tasks")
        names = {text: column for column, text in MEASURES["truth"].columns.items()}
        self.measure: Any = ipw.Dropdown(options=names, description="measure", style=WIDE)
        self.button = ipw.Button(description="Run")
        self.button.on_click(lambda _: self._on_run())
        self.bar = ipw.IntProgress(layout=ipw.Layout(width="160px"))
        self.setting.observe(lambda _: self._offer(), "value")  # before the base class draws
        super().__init__([self.setting, self.values, self.tasks, self.measure, self.button, self.bar])

    @property
    def position(self) -> tuple[object, ...]:
        return self.setting.value, self.values.value, self.tasks.value, self.measure.value, tuple(self.tried)

    @property
    def methods(self) -> dict[str, Method]:
        """What is compared: the usual settings, and each chosen value."""
        name = self.setting.value
        chosen = {f"{name} = {_told(v)}": self.base.with_settings(**{name: v}) for v in self.values.value}
        return {USUAL: self.base} | {label: m for label, m in chosen.items() if m != self.base}

    def run(self) -> None:
        """Make every edit that is missing."""
        for _ in self.running():
            pass
        self.refresh()

    def running(self) -> Iterator[int]:
        """Edit step by step, yielding how many edits are done. Ending it early keeps the finished ones."""
        missing = [
            (label, k) for k in range(self.tasks.value) for label in self.methods if (label, k) not in self.tried
        ]
        methods, self.bar.max = self.methods, len(missing)
        for done, (label, k) in enumerate(missing):
            with closing(iter_edit(self.backbone, self.known[k].task, methods[label])) as stream:
                for step in stream:
                    if isinstance(step, Finished):
                        self.tried[label, k] = self._measured(k, step.image, methods[label])
                    yield done

    def differences(self) -> dict[str, np.ndarray]:
        """Value → its differences from the usual settings, for those tasks that have both."""
        found = {label: self._numbers(label) for label in self.methods}
        pairs = {name: [k for k in numbers if k in found[USUAL]] for name, numbers in found.items() if name != USUAL}
        return {name: np.array([found[name][k] - found[USUAL][k] for k in ks]) for name, ks in pairs.items() if ks}

    def draw(self) -> Shown:
        d = self.differences()
        pictures = rendered(figures.sheet(self._rows(), ["source", *self.methods, "truth"], height=1.5))
        if not d:
            return Shown(pictures, "Choose a setting and values, and press Run: grey is what has not been made yet.")
        label = next(text for text, column in self.measure.options.items() if column == self.measure.value)
        told = [f"{name}: {_interval(values)} ({len(values)} tasks)" for name, values in d.items()]
        figure = figures.effects({self.setting.value: d}, label)
        return Shown(stacked(pictures, rendered(figure)), f"Mean difference in {label}. {'; '.join(told)}.")

    def _measured(self, k: int, picture: Image.Image, method: Method) -> Tried:
        known = self.known[k]
        return Tried(picture, measure(Edited(known.task, picture, known, self.backbone, method), ("truth",))[0])

    def _numbers(self, label: str) -> dict[int, float]:
        """Task → the chosen measure of the edit that was made so."""
        made = {k: self.tried.get((label, k)) for k in range(self.tasks.value)}
        return {k: tried.numbers[self.measure.value] for k, tried in made.items() if tried}

    def _rows(self) -> dict[str, list[Image.Image]]:
        rows = {}
        for k, known in enumerate(self.known[: min(self.tasks.value, MOST_SHOWN)]):
            blank = Image.new("RGB", known.truth.size, "#dddddd")
            made = [self.tried.get((label, k)) for label in self.methods]
            edits = [tried.picture if tried else blank for tried in made]
            rows[known.task.name] = [known.task.image, *edits, known.truth]
        return rows

    def _options(self, setting: str) -> list[tuple[str, Any]]:
        return [(_told(value), value) for value in self.choices[setting]]

    def _offer(self) -> None:
        """The values that go with the setting, all of them chosen."""
        with self.together():
            self.values.options = self._options(self.setting.value)
            self.values.value = tuple(self.choices[self.setting.value])

    async def _run(self) -> None:
        for done in self.running():
            self.bar.value = done
            await asyncio.sleep(0)
        self.bar.value = self.bar.max
        self.refresh()

    def _on_run(self) -> None:
        if self._running is None or self._running.done():
            self._running = asyncio.get_event_loop().create_task(self._run())


def _told(value: Any) -> str:
    return "none" if value is None else str(value)


def _interval(values: np.ndarray) -> str:
    e = estimate(values, np.mean)
    return f"{e.value:+.2f} [{e.low:+.2f}, {e.high:+.2f}]"
