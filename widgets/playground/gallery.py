"""A row of results, each a picture to click."""

from __future__ import annotations

from collections.abc import Callable

import ipywidgets as ipw

from widgets.drag_canvas.wire import encode_picture
from widgets.playground.attempt import Attempt

MOST_RESULTS = 8  # the oldest goes first


class Gallery(ipw.Box):
    """Results side by side; `choose` is called with the attempt whose picture was clicked."""

    def __init__(self, choose: Callable[[Attempt], None]):
        self.choose = choose
        self.attempts: list[Attempt] = []
        self._count = 0
        super().__init__([])
        self.add_class("gd-gallery")

    def add(self, attempt: Attempt) -> None:
        """Hang a result up, or renew the picture of one that went on."""
        if attempt in self.attempts:
            at = self.attempts.index(attempt)
            card = _card(attempt, self.children[at].title, self.choose)
            self.children = (*self.children[:at], card, *self.children[at + 1 :])
        else:
            self._count += 1
            self.attempts = [*self.attempts, attempt][-MOST_RESULTS:]
            self.children = (*self.children, _card(attempt, str(self._count), self.choose))[-MOST_RESULTS:]
        self.mark(attempt)

    def mark(self, attempt: Attempt | None) -> None:
        """Show which result is on the canvas."""
        for each, card in zip(self.attempts, self.children, strict=True):
            (card.add_class if each is attempt else card.remove_class)("gd-chosen")

    def clear(self) -> None:
        """Take all results down."""
        self.attempts, self.children, self._count = [], (), 0


class _Card(ipw.Box):
    """A picture under a button that covers it."""

    def __init__(self, title: str, *children: ipw.Widget):
        super().__init__(children)
        self.title = title
        self.add_class("gd-card")


def _card(attempt: Attempt, title: str, choose: Callable[[Attempt], None]) -> _Card:
    assert attempt.result is not None
    picture = ipw.Image(value=encode_picture(attempt.result.image), format="png", alt="")
    method = attempt.method
    state = "stopped" if attempt.result.stopped else attempt.left
    about = f"{title}  {method.name}, seed {method.seed}, strength {method.strength:g}: {state}"
    button = ipw.Button(description=about, tooltip="show this result on the canvas")
    button.on_click(lambda _: choose(attempt))
    return _Card(title, picture, button)
