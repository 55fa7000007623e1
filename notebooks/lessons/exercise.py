"""The exercises of the notebooks: each knows the right answer by what it does, and the usual mistakes by name.

An exercise runs your function on a few small inputs and compares what comes out with the right function and with
typical wrong ones, so it can tell *what* went wrong. Nothing here looks at your code's text.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from textwrap import fill
from typing import Any

import torch
from torch import Tensor

Function = Callable[..., Any]
WIDTH = 88  # characters of a printed line; where a page has no room for it, JupyterLab cuts words in two


@dataclass(frozen=True)
class Verdict:
    """What an exercise says of an answer."""

    passed: bool
    text: str


def _kind(given: Any, wanted: Any) -> str:
    """A sentence about an answer that can't be compared at all, because it is of another kind or shape, or ""."""
    a, b = _numbers(given), _numbers(wanted)
    if b is None or (a is not None and a.shape == b.shape):
        return ""
    what = f"is a {type(given).__name__}" if a is None else f"has the shape {tuple(a.shape)}"
    return f" What comes out {what}; wanted is {f'the shape {tuple(b.shape)}' if b.dim() else 'one number'}."


@dataclass(frozen=True)
class Exercise:
    """One exercise: the right function, inputs to try it on, hints, and wrong functions with what to say of them.

    `mistakes` maps a hint to a function that makes that mistake. `uses` holds the names from earlier cells that an
    answer may use, so that a test can run the exercise's cell alone. `kind` says what is wrong with an answer's kind
    or shape, from the answer and the right one.
    """

    right: Function
    inputs: Callable[[], Sequence[tuple[Any, ...]]]
    hints: tuple[str, str]
    praise: str
    mistakes: Mapping[str, Function]
    uses: Mapping[str, Any] = field(default_factory=dict)
    kind: Callable[[Any, Any], str] = _kind

    def __call__(self, answer: Function) -> None:
        """Check an answer and print the verdict."""
        print(wrapped(self.verdict(answer).text))

    def verdict(self, answer: Function) -> Verdict:
        """Compare an answer with the right function, then with the known mistakes."""
        cases = list(self.inputs())
        try:
            given = [answer(*case) for case in cases]
        except Exception as error:  # whatever the learner's code raises is told, not thrown
            if _mentions_blank(error):
                return self._not_yet()
            return Verdict(False, f"It stopped with a {type(error).__name__}: {error}\nHint: {self.hints[0]}")
        if any(value is None or value is ... for value in given):
            return self._not_yet()
        wanted = [self.right(*case) for case in cases]
        if _same(given, wanted):
            return Verdict(True, f"Right. {self.praise}")
        for hint, wrong in self.mistakes.items():
            if _same(given, [wrong(*case) for case in cases]):
                return Verdict(False, f"Almost. {hint}")
        return Verdict(False, f"Not the right numbers.{self.kind(given[0], wanted[0])}\nHint: {self.hints[1]}")

    def _not_yet(self) -> Verdict:
        return Verdict(False, f"Not yet – replace the dots.\nHint: {self.hints[0]}")


def wrapped(text: str) -> str:
    """A text with its lines broken between words."""
    lines = text.split("\n")
    return "\n".join(fill(line, WIDTH, break_long_words=False, break_on_hyphens=False) for line in lines)


def _mentions_blank(error: Exception) -> bool:
    return isinstance(error, TypeError) and "ellipsis" in str(error)


def _same(given: Sequence[Any], wanted: Sequence[Any]) -> bool:
    return all(_close(a, b) for a, b in zip(given, wanted, strict=True))


def _close(a: Any, b: Any) -> bool:
    a, b = _numbers(a), _numbers(b)
    if a is None or b is None:
        return False
    return a.shape == b.shape and bool(torch.allclose(a, b, atol=1e-4, rtol=1e-4))


def _numbers(value: Any) -> Tensor | None:
    """A value as an array, or None where it is none."""
    try:
        return torch.as_tensor(value, dtype=torch.float64)
    except (TypeError, ValueError, RuntimeError):
        return None
