"""One look for all figures: readable on a projector, in greyscale, and by colour-blind people (Okabe-Ito colours)."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import count, cycle
from typing import Any, TypeVar

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.patheffects import AbstractPathEffect, Normal, Stroke

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
DASHES = ("-", "--", "-.", ":")
MARKERS = ("o", "s", "^", "D", "v")
SMALL = 11  # pt, the least size of letters
SETTINGS: dict[str, Any] = {
    "font.size": 12,
    "axes.titlesize": 12,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "lines.linewidth": 2.2,
    "lines.markersize": 7,
    "figure.dpi": 96,
    "figure.constrained_layout.w_pad": 0.06,
    "savefig.bbox": "tight",
    "legend.frameon": False,
}

T = TypeVar("T")


@contextmanager
def house_style() -> Iterator[None]:
    """Use the look inside a block; the user's own settings come back after it."""
    with mpl.rc_context(SETTINGS):  # pyright: ignore[reportArgumentType]
        yield


def lines() -> Iterator[dict[str, Any]]:
    """Colour, dash and marker of the first, second, … line, so that no line is told by its colour alone.

    Markers stand apart on a line, and those of the next line elsewhere, so that both show where lines run together.
    """
    for k, colour, dash, marker in zip(count(), cycle(COLOURS), cycle(DASHES), cycle(MARKERS), strict=False):
        places = (0.04 + 0.05 * (k % 4), 0.2)  # the first and the distance between two, in diagonals of the axes
        yield {
            "color": colour,
            "linestyle": dash,
            "marker": marker,
            "markevery": places,
            "markeredgecolor": "white",
            "markeredgewidth": 0.8,
        }


def halo(width: float = 2.2) -> list[AbstractPathEffect]:
    """A white rim with a thin black one around it, by which a line of any colour stands out on any picture.

    `width` is that of the line (or 0, for letters), in pt.
    """
    return [
        Stroke(linewidth=width + 4, foreground="black"),
        Stroke(linewidth=width + 2.6, foreground="white"),
        Normal(),
    ]


def named(things: T | Mapping[str, T]) -> dict[str, T]:
    """Several things by name; a single one has the name ""."""
    return dict(things) if isinstance(things, Mapping) else {"": things}


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
