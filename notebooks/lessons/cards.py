"""A case of the failure clinic as pictures: what was asked and what came out, the plot that tells, and the cure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import ipywidgets as ipw
import numpy as np
from IPython.display import Markdown, display
from matplotlib.axes import Axes
from PIL import Image

import figures
from figures.style import LessonFigure, house_style, lines, new_figure
from lessons.cases import SIGNS, Attempt, Case
from widgets.explorers import Explorer, Shown
from widgets.explorers.base import rendered

HEIGHT, LARGE = 2.0, 3.6  # inches of a picture, on the page and in the widget
STAGES = ("What you see", "Where to look", "Why, and what helps")


def before(case: Case, height: float = HEIGHT) -> LessonFigure:
    """What was asked, and what came out."""
    return _pictures(case, height, {"asked": case.failed.task.draw(), "came out": case.failed.picture})


def after(case: Case, height: float = HEIGHT) -> LessonFigure:
    """The task where that was mended, what came out then, and the true result."""
    asked = {"asked instead": case.cured.task.draw()} if case.task_changes else {}
    return _pictures(case, height, asked | {"cured": case.cured.picture, "the truth": case.truth})


def _pictures(case: Case, height: float, pictures: dict[str, Image.Image]) -> LessonFigure:
    return figures.before_after(pictures, height).described(f"{case.title}: {', '.join(pictures)}.")


def plot(case: Case, height: float = HEIGHT) -> LessonFigure:
    """The picture in which the failure shows, beside that of the cure."""
    return PLOTS[case.plot](case, height)


def _distances(case: Case, height: float) -> LessonFigure:
    with house_style():
        figure = new_figure(8, height + 0.9)
        panels = figure.subplots(1, 2, sharey=True)
        for axes, (name, trace) in zip(panels, case.traces.items(), strict=True):
            for k, look in zip(range(len(getattr(case, name).task.handles)), lines(), strict=False):
                way = trace.path(k)
                axes.plot(way["drag"], way["distance"], label=f"{k + 1}", **look)
            axes.set(xlabel="drags done", title=name, ylim=(0, None))
        panels[0].set_ylabel("distance to the target (px)")
        most = max(panels, key=lambda axes: len(axes.lines))
        figure.legend(*most.get_legend_handles_labels(), title="handle", loc="outside right center")
    return figure.described(f"{case.title}: distance of each handle over the drags. {_told(case)}")


def _perturbation(case: Case, height: float) -> LessonFigure:
    with house_style():
        figure = new_figure(8, height + 0.9)
        axes = figure.subplots()
        _draw_perturbation(axes, case)
        figure.legend(*axes.get_legend_handles_labels(), loc="outside right center")
    return figure.described(f"{case.title}: perturbation over the drags. {_told(case)}")


def _both(case: Case, height: float) -> LessonFigure:
    with house_style():
        figure = new_figure(8, height + 0.9)
        left, right = figure.subplots(1, 2)
        for (name, trace), look in zip(case.traces.items(), lines(), strict=False):
            means = trace.table[trace.table["phase"] != "denoise"].groupby("drag")["distance"].mean()
            left.plot(means.index, means, label=name, **look)
        left.set(xlabel="drags done", ylabel="distance, mean (px)", ylim=(0, None))
        _draw_perturbation(right, case)
        figure.legend(*right.get_legend_handles_labels(), loc="outside right center")
    return figure.described(f"{case.title}: mean distance and perturbation over the drags. {_told(case)}")


def _draw_perturbation(axes: Axes, case: Case) -> None:
    for (name, trace), look in zip(case.traces.items(), lines(), strict=False):
        rows = trace.drags[trace.drags["point"] == 0]
        axes.plot(rows["drag"], rows["perturbation_inside"], label=name, **look)
    axes.set(xlabel="drags done", ylabel="perturbation (RMS)", ylim=(0, max(1, axes.get_ylim()[1])))


def _changes(case: Case, height: float) -> LessonFigure:
    changes = {name: change(getattr(case, name)) for name in ("failed", "cured")}
    return figures.before_after(changes, height).described(
        f"{case.title}: the difference from the original, white where it is large. {_told(case)}"
    )


def change(attempt: Attempt) -> Image.Image:
    """Where an edit has changed the picture: black for nothing, white for 64 grey levels and more."""
    difference = np.abs(np.asarray(attempt.picture, float) - np.asarray(attempt.task.image, float)).mean(-1)
    return Image.fromarray((difference / 64 * 255).clip(0, 255).astype(np.uint8))


def _masks(case: Case, height: float) -> LessonFigure:
    veiled = {}
    for name in ("failed", "cured"):
        attempt: Attempt = getattr(case, name)
        veiled[name] = replace(attempt.task, image=attempt.picture).draw()
    return figures.before_after(veiled, height).described(
        f"{case.title}: the mask laid over the results; what was held is veiled. {_told(case)}"
    )


PLOTS: Mapping[str, Callable[[Case, float], LessonFigure]] = {
    "distance": _distances,
    "perturbation": _perturbation,
    "both": _both,
    "change": _changes,
    "mask": _masks,
}


def _told(case: Case) -> str:
    """The case's number in a sentence."""
    sign, (failed, cured) = SIGNS[case.sign], case.signs
    return f"{sign.text[0].upper()}{sign.text[1:]}: {_short(failed)} {sign.unit}, cured {_short(cured)} {sign.unit}."


def _short(value: float) -> str:
    """Two digits that count: 76, 6.8, 0.41."""
    return f"{value:.0f}" if value >= 10 else f"{value:.2g}"


def card(case: Case) -> None:
    """Show a whole card."""
    display(Markdown(f"**{case.title}.** *What you see:* {case.symptom}"), before(case))
    display(Markdown(f"*Where to look:* {case.look}"), plot(case))
    display(Markdown(f"*Why:* {case.cause}\n\n*What helps:* {case.cure} (Changed below: {_changed(case)}.)"))
    display(after(case))
    print(_told(case))


def _changed(case: Case) -> str:
    return ", ".join(case.changes)


class CaseCards(Explorer):
    """Cards to guess by: choose a case, look, guess, and only then turn the card over."""

    def __init__(self, cases: dict[str, Case]):
        self.cases = cases
        numbered = [(f"patient {k}", name) for k, name in enumerate(cases, start=1)]
        self.case = ipw.Dropdown(options=numbered, description="case")
        stages = [(text, k) for k, text in enumerate(STAGES)]
        self.stage = ipw.ToggleButtons(options=stages, style={"button_width": "180px"})
        self.case.observe(lambda _: setattr(self.stage, "value", 0), "value")
        super().__init__([self.case, self.stage])

    def draw(self) -> Shown:
        case = self.cases[self.case.value]
        why = f"{case.title}. {case.cause} {case.cure} Changed: {_changed(case)}. {_told(case)}"
        text = (case.symptom, case.look, why)[self.stage.value]
        return Shown(
            rendered((before, plot, after)[self.stage.value](case, LARGE)), text.replace("`", "").replace("*", "")
        )
