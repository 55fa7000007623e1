"""Exercises of 10 · Failure clinic."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lessons.exercise import Exercise, Function, Verdict

Array = NDArray[np.float64]


def _share_left(distance: Array) -> Array:
    return distance[-1] / distance[0]


def _ways() -> list[tuple[Any, ...]]:
    """Distances (drags + 1, handles): one edit whose handles come nearest before the end, and one with a runaway."""
    return [
        (np.array([[8.0, 4.0], [5.0, 2.0], [1.5, 0.5], [2.0, 1.0]]),),
        (np.array([[5.0, 6.0, 4.0], [4.0, 3.0, 6.0], [0.5, 0.6, 7.0]]),),
    ]


SHARE_LEFT = Exercise(
    right=_share_left,
    inputs=_ways,
    hints=(
        "distance has a row for each moment and a column for each handle: compare the last row with the first.",
        "a handle that began 8 px away and ends 2 px away has a quarter of its way left: 0.25.",
    ),
    praise="0 has arrived, 1 is as far as in the beginning, and more than 1 went the wrong way.",
    uses={"np": np},
    mistakes={
        "Upside down: what is left, divided by what there was.": lambda d: d[0] / d[-1],
        "That is the share that was *covered*; what is left is 1 minus that.": lambda d: 1 - d[-1] / d[0],
        "You give one number for all; give one for each handle, or a runaway hides behind the mean.": lambda d: (
            d[-1] / d[0]
        ).mean(),
        "That is how far they have come, in pixels; divide what is left by what there was.": lambda d: d[0] - d[-1],
        "You take the nearest moment on the way; a handle may have been near and gone again. Take the last.": (
            lambda d: d.min(0) / d[0]
        ),
    },
)


def _change_outside(before: NDArray[Any], after: NDArray[Any], mask: NDArray[np.bool_]) -> Any:
    return _rms((after.astype(float) - before.astype(float))[~mask])


def _rms(difference: NDArray[Any]) -> Any:
    return np.sqrt((difference.astype(float) ** 2).mean())


def _pictures() -> list[tuple[Any, ...]]:
    chance = np.random.default_rng(0)
    before, after = chance.integers(0, 256, (2, 6, 5, 3)).astype(np.uint8)
    mask = np.zeros((6, 5), bool)
    mask[1:4, 1:3] = True
    return [(before, after, mask)]


CHANGE_OUTSIDE = Exercise(
    right=_change_outside,
    inputs=_pictures,
    hints=(
        "~mask chooses the pixels that should have stayed: picture[~mask].",
        "root, mean, square – from the inside out: square the differences, take their mean, take its root.",
    ),
    praise="With a mask you can tell how much of the change was never asked for.",
    uses={"np": np},
    mistakes={
        "That is the change *inside* the mask, which was asked for. Outside is ~mask.": lambda b, a, m: _rms(
            (a.astype(float) - b)[m]
        ),
        "The difference wraps around: the arrays are uint8, where 3 − 5 is 254. Make them float first.": (
            lambda b, a, m: _rms((a - b)[~m])
        ),
        "The arrays are uint8, so 3 − 5 is 254, and 20² is 144. Make them float first, with .astype(float).": (
            lambda b, a, m: np.sqrt(((a - b)[~m] ** 2).mean())
        ),
        "That is the change of the whole picture: choose the pixels outside first.": lambda b, a, m: _rms(
            a.astype(float) - b
        ),
        "The mean is taken over *all* pixels, those that may change count as unchanged: choose with [~mask].": (
            lambda b, a, m: _rms((a.astype(float) - b) * ~m[..., None])
        ),
        "That is the mean absolute difference. Square first, and take the root of the mean.": lambda b, a, m: np.abs(
            (a.astype(float) - b)[~m]
        ).mean(),
        "The root is missing.": lambda b, a, m: _rms((a.astype(float) - b)[~m]) ** 2,
    },
)


class NameExercise(Exercise):
    """An exercise whose answers are names: a wrong one is shown with the patient that it was given to."""

    def verdict(self, answer: Function) -> Verdict:
        mistakes = {hint: _coded(wrong) for hint, wrong in self.mistakes.items()}
        coded = Exercise(_coded(self.right), self.inputs, self.hints, self.praise, mistakes)
        verdict = coded.verdict(_coded(answer))
        if verdict.passed or not verdict.text.startswith("Not the right numbers."):
            return verdict
        for distance, perturbation, allowed in self.inputs():
            said, is_so = answer(distance, perturbation, allowed), self.right(distance, perturbation, allowed)
            if isinstance(said, str) and said != is_so:
                left = _share_left(distance)
                return Verdict(
                    False,
                    f"Not yet right: you say '{said}' where it is '{is_so}'. That patient has {left.mean():.0%} of the "
                    f"way left on average, {left.max():.0%} at worst, after {len(perturbation)} of {allowed} drags, "
                    f"with a perturbation of {perturbation[-1]:.2f}.\nHint: {self.hints[1]}",
                )
        return verdict


def _coded(name_it: Function) -> Function:
    """The function with its names as numbers, which is what an exercise compares."""

    def number_it(*case: Any) -> Any:
        name = name_it(*case)
        return (NAMES.index(name) if name in NAMES else -1) if isinstance(name, str) else name

    return number_it


NAMES = ("shattered", "pulled apart", "arrived", "stopped early", "nothing moves", "out of drags", "held back")


def diagnose(distance: Array, perturbation: Array, allowed: int) -> str:
    """What a trace can say of an edit.

    distance (drags + 1, handles) in px, perturbation (drags,) after each drag, and the number of drags allowed.
    """
    return _diagnosis(_share_left(distance), perturbation[-1], len(perturbation), allowed)


def _diagnosis(left: Array, perturbation: float, done: int, allowed: int) -> str:
    if perturbation > 1:
        return "shattered"
    if left.max() > 1.1:
        return "pulled apart"
    if left.mean() < 0.5:
        return "arrived"
    if done < allowed:
        return "stopped early"
    if perturbation < 0.1:
        return "nothing moves"
    return "out of drags" if perturbation < 0.4 else "held back"


def _patient(start: float, ends: list[float], perturbation: float, done: int = 30, allowed: int = 30) -> Any:
    distance = np.linspace([start] * len(ends), ends, done + 1)
    return distance, np.linspace(perturbation / done, perturbation, done), allowed


def _patients() -> list[tuple[Any, ...]]:
    return [
        _patient(5, [0.4, 0.6, 0.3], 0.5),
        _patient(5, [0.4, 0.6], 0.45, done=14),  # arrived before all its drags were used up
        _patient(5, [0.3, 0.2, 0.4], 3.5),  # shattered, and there
        _patient(6, [4.8, 5.0], 2.5),  # shattered, and not there
        _patient(5, [0.2, 0.3, 0.4, 0.2, 8.0], 0.5),  # the mean says that it has arrived
        _patient(5, [3.9, 3.8], 0.08, done=4),
        _patient(5, [5.0, 4.8], 0.03),
        _patient(8, [5.6, 6.0], 0.2, done=8, allowed=8),
        _patient(20, [13.0], 0.22, done=12, allowed=12),
        _patient(5, [3.2, 3.6], 0.7),
    ]


def _mistaken(order: str) -> Function:
    """A diagnosis that makes one of the usual mistakes."""

    def name_it(distance: Array, perturbation: Array, allowed: int) -> str:
        left, done = _share_left(distance), len(perturbation)
        last = perturbation[-1]
        if order == "arrived first" and left.mean() < 0.5:
            return "arrived"
        if order == "drags first" and done < allowed and last <= 1 and left.max() <= 1.1:
            return "stopped early"
        if order == "mean":
            left = np.full_like(left, left.mean())
        if order == "first":
            last = perturbation[0]
        said = _diagnosis(left, last, done, allowed)
        swapped = {"out of drags": "held back", "held back": "out of drags"}
        return swapped.get(said, said) if order == "swapped" else said

    return name_it


DIAGNOSE = NameExercise(
    right=diagnose,
    inputs=_patients,
    hints=(
        "read the limits off the table above: which number sets this failure apart from all others?",
        "go through your questions in their order for this patient, and see where it leaves the row too early.",
    ),
    praise="Seven names from two curves. What curves can't show, you have seen above.",
    uses={"np": np, "my_share_left": _share_left},
    mistakes={
        "You ask first whether the handles have arrived; but in a shattered picture, they have. Ask for that first.": (
            _mistaken("arrived first")
        ),
        "A runaway handle hides behind the mean: ask for the worst share, left.max().": _mistaken("mean"),
        "Whoever has arrived need not use all drags: ask for arrival before you count them.": _mistaken("drags first"),
        "You look at the first perturbation; it piles up, so look at the last.": _mistaken("first"),
        "The two last names are swapped: much change and no way means that something holds it.": _mistaken("swapped"),
    },
)

EXERCISES = {"share_left": SHARE_LEFT, "change_outside": CHANGE_OUTSIDE, "diagnose": DIAGNOSE}
