"""Rate edits without knowing who made them: A, B, C beside the original, 0 to 10."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from string import ascii_uppercase
from typing import Any

import ipywidgets as ipw
import pandas as pd
from PIL import Image

import figures
from gooddrag.errors import BadInput
from gooddrag.files import write_whole
from widgets.explorers.base import Explorer, Shown, rendered

ORIGINAL = "original"
COLUMNS = ("task", "method", "shown_as", "score", "rater")
UNDECIDED = 5


class BlindRating(Explorer):
    """Edits of one task after the other, under letters that say nothing about the method.

    Which method stands at which letter changes from task to task, by the seed; over as many tasks as there are methods
    each stands once at each letter. A page counts once you press Next.

    Parameters
    ----------
    pictures_per_task
        Task → picture by name: the "original", and each method's edit.
    """

    def __init__(self, pictures_per_task: Mapping[str, Mapping[str, Image.Image]], seed: int = 0):
        _check(pictures_per_task)
        self.pictures, self.tasks = pictures_per_task, list(pictures_per_task)
        methods = {task: [name for name in row if name != ORIGINAL] for task, row in pictures_per_task.items()}
        self.orders = shuffled(methods, seed)
        self.scores: dict[tuple[str, str], int] = {}  # (task, method) → score
        self.rated: set[str] = set()
        self.page = 0
        self.rater = ipw.Text(placeholder="your name or a number", description="rater")
        most = max(map(len, methods.values()))
        self.sliders = [ipw.IntSlider(UNDECIDED, 0, 10, description=letter) for letter in ascii_uppercase[:most]]
        self.back, self.next = ipw.Button(description="Back"), ipw.Button(description="Next")
        self.back.on_click(lambda _: self.turn(-1))
        self.next.on_click(lambda _: self.accept())
        for slider in self.sliders:
            slider.observe(lambda _: self._note_scores(), "value")
        super().__init__([self.rater, self.back, self.next], below=[ipw.VBox(self.sliders)])
        self._show_page()

    @property
    def task(self) -> str:
        """The task on the page."""
        return self.tasks[self.page]

    @property
    def ratings(self) -> pd.DataFrame:
        """One row per rated edit: task, method, shown_as, score, rater."""
        rows = [
            (task, method, letter, self.scores[task, method], self.rater.value)
            for task in self.tasks
            if task in self.rated
            for letter, method in zip(ascii_uppercase, self.orders[task], strict=False)
        ]
        return pd.DataFrame(rows, columns=list(COLUMNS))

    def save(self, path: Path | str) -> None:
        """Write the ratings as CSV, whole or not at all."""
        write_whole(Path(path), lambda part: self.ratings.to_csv(part, index=False))

    def accept(self) -> None:
        """Count this page's scores and turn to the next page, where there is one."""
        self._note_scores()
        self.rated.add(self.task)
        self.turn(+1)

    def turn(self, by: int) -> None:
        """Go to another page without counting this one; its sliders are remembered."""
        self.page = min(max(self.page + by, 0), len(self.tasks) - 1)
        self._show_page()

    @property
    def position(self) -> tuple[Any, ...]:
        return self.page, len(self.rated), self.task in self.rated

    def draw(self) -> Shown:
        pictures, order = self.pictures[self.task], self.orders[self.task]
        titled = {letter: pictures[method] for letter, method in zip(ascii_uppercase, order, strict=False)}
        figure = figures.before_after({ORIGINAL: pictures[ORIGINAL]} | titled, height=2.8)
        done = "is rated" if self.task in self.rated else "is not rated yet"
        text = f"Task {self.page + 1} of {len(self.tasks)} {done}; {len(self.rated)} rated in all."
        return Shown(rendered(figure), text)

    def _note_scores(self) -> None:
        for slider, method in zip(self.sliders, self.orders[self.task], strict=False):
            self.scores[self.task, method] = slider.value

    def _show_page(self) -> None:
        order = self.orders[self.task]
        known = [self.scores.get((self.task, method), UNDECIDED) for method in order]  # read before sliders move
        for slider, score in zip(self.sliders, known, strict=False):
            slider.value = score
        for k, slider in enumerate(self.sliders):
            slider.layout.display = None if k < len(order) else "none"
        self.next.description = "Done" if self.page == len(self.tasks) - 1 else "Next"
        self.back.disabled = self.page == 0
        self.refresh()


def shuffled(methods: Mapping[str, Sequence[str]], seed: int) -> dict[str, list[str]]:
    """For each task the order in which its methods stand at A, B, C …

    Tasks in a row share one shuffled order, each turned by another amount; a new order begins when all turns are used
    up or the methods are others.
    """
    chance = random.Random(seed)
    orders: dict[str, list[str]] = {}
    order: list[str] = []
    turns: list[int] = []
    for task, names in methods.items():
        if not turns or set(order) != set(names):
            order, turns = chance.sample(list(names), len(names)), chance.sample(range(len(names)), len(names))
        turn = turns.pop()
        orders[task] = order[turn:] + order[:turn]
    return orders


def _check(pictures_per_task: Mapping[str, Mapping[str, Image.Image]]) -> None:
    if not pictures_per_task:
        raise BadInput("There is nothing to rate: give at least one task with its pictures.")
    for task, pictures in pictures_per_task.items():
        if ORIGINAL not in pictures or not 2 <= len(pictures) <= 1 + len(ascii_uppercase):
            raise BadInput(
                f"The task '{task}' has the pictures {', '.join(pictures) or 'none'}: give its '{ORIGINAL}' and 1 to "
                f"{len(ascii_uppercase)} edits."
            )
