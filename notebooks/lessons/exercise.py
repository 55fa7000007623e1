"""The exercises of the notebooks: each knows the right answer by what it does, and the usual mistakes by name.

An exercise runs your function on a few small inputs and compares what comes out with the right function and with
typical wrong ones, so it can tell *what* went wrong. Nothing here looks at your code's text.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

Function = Callable[..., Any]


@dataclass(frozen=True)
class Verdict:
    """What an exercise says of an answer."""

    passed: bool
    text: str


@dataclass(frozen=True)
class Exercise:
    """One exercise: the right function, inputs to try it on, hints, and wrong functions with what to say of them.

    `mistakes` maps a hint to a function that makes that mistake. `uses` holds the names from earlier cells that an
    answer may use, so that a test can run the exercise's cell alone.
    """

    right: Function
    inputs: Callable[[], Sequence[tuple[Any, ...]]]
    hints: tuple[str, str]
    praise: str
    mistakes: Mapping[str, Function]
    uses: Mapping[str, Any] = field(default_factory=dict)

    def __call__(self, answer: Function) -> None:
        """Check an answer and print the verdict."""
        print(self.verdict(answer).text)

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
        if _same(given, [self.right(*case) for case in cases]):
            return Verdict(True, f"Right. {self.praise}")
        for hint, wrong in self.mistakes.items():
            if _same(given, [wrong(*case) for case in cases]):
                return Verdict(False, f"Almost. {hint}")
        return Verdict(False, f"Not the right numbers.\nHint: {self.hints[1]}")

    def _not_yet(self) -> Verdict:
        return Verdict(False, f"Not yet – replace the dots.\nHint: {self.hints[0]}")


def _mentions_blank(error: Exception) -> bool:
    return isinstance(error, TypeError) and "ellipsis" in str(error)


def _same(given: Sequence[Any], wanted: Sequence[Any]) -> bool:
    return all(_close(a, b) for a, b in zip(given, wanted, strict=True))


def _close(a: Any, b: Any) -> bool:
    a, b = torch.as_tensor(a, dtype=torch.float64), torch.as_tensor(b, dtype=torch.float64)
    return a.shape == b.shape and bool(torch.allclose(a, b, atol=1e-4, rtol=1e-4))
