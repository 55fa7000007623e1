"""One look for all figures: readable on a projector, in greyscale, and by colour-blind people (Okabe-Ito colours)."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import cycle
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
DASHES = ("-", "--", "-.", ":")
SETTINGS: dict[str, Any] = {
    "font.size": 12,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "lines.linewidth": 2.2,
    "figure.dpi": 96,
    "savefig.bbox": "tight",
    "legend.frameon": False,
}


@contextmanager
def house_style() -> Iterator[None]:
    """Use the look inside a block; the user's own settings come back after it."""
    with mpl.rc_context(SETTINGS):  # pyright: ignore[reportArgumentType]
        yield


def lines() -> Iterator[dict[str, Any]]:
    """Colour and dash of the first, second, … line, so that no line is told by its colour alone."""
    return ({"color": c, "linestyle": d} for c, d in zip(cycle(COLOURS), cycle(DASHES), strict=False))


class LessonFigure(Figure):
    """A figure that shows itself in a notebook, without pyplot, and brings its description along."""

    alt_text = ""

    def described(self, text: str) -> LessonFigure:
        """Attach a text for those who can't see the figure."""
        self.alt_text = text
        return self

    def _repr_mimebundle_(self, **_: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        out = io.BytesIO()
        with house_style():
            self.savefig(out, format="png")
        return {"image/png": out.getvalue(), "text/plain": self.alt_text}, {"image/png": {"alt": self.alt_text}}


def new_figure(width: float, height: float) -> LessonFigure:
    """An empty figure, sizes in inches; fill it inside `house_style`."""
    return LessonFigure(figsize=(width, height), layout="constrained")
