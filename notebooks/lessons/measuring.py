"""Exercises of 07 · Measuring drags."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from lessons.exercise import Exercise, Function

Array = NDArray[np.float64]
Point = tuple[int, int]
Patch = Callable[[Array, Point, int], Array]


def patch(picture: Array, point: Point, gamma: int) -> Array:
    """The (2γ + 1)² pixels around a point (x, y)."""
    x, y = point
    return picture[y - gamma : y + gamma + 1, x - gamma : x + gamma + 1]


def _cut_short(picture: Array, point: Point, gamma: int) -> Array:
    x, y = point
    return picture[y - gamma : y + gamma, x - gamma : x + gamma]


def _rows_first(picture: Array, point: Point, gamma: int) -> Array:
    return patch(picture, (point[1], point[0]), gamma)


def _drags() -> list[tuple[Any, ...]]:
    chance = np.random.default_rng(1)
    pictures = chance.random((2, 24, 26, 3))
    return [(*pictures, [(9, 7), (15, 12)], [(18, 10), (6, 16)], gamma) for gamma in (1, 4)]


def _dai_like(
    cut: Patch = patch,
    unlike: Callable[[Array], Any] = lambda d: (d**2).sum(-1).mean(),
    ends: Callable[[Point, Point], tuple[Point, Point]] = lambda p, g: (p, g),
    over: Callable[[int], float] = lambda n: n,
) -> Function:
    """DAI with its decisions left open: how a patch is cut, what is unlike, which points, how pairs are averaged."""

    def dai(original: Array, edited: Array, handles: Sequence[Point], targets: Sequence[Point], gamma: int) -> float:
        total = 0.0
        for pair in zip(handles, targets, strict=True):
            p, g = ends(*pair)
            total += unlike(cut(original, p, gamma) - cut(edited, g, gamma))
        return total / over(len(handles))

    return dai


DAI = Exercise(
    right=_dai_like(),
    inputs=_drags,
    hints=(
        "cut both patches, subtract them, square, sum over the colours (last axis), take the mean over the pixels.",
        "with an original that is all 0 and an edit that is all 1, each pair must give 3: one for each colour.",
    ),
    praise="DAI asks one thing: does the target look like the handle did?",
    uses={"np": np, "patch": patch},
    mistakes={
        "The edited patch is taken at the handle: it is the *target* that should look like the handle did.": _dai_like(
            ends=lambda p, g: (p, p)
        ),
        "The points are swapped: the original is read at the handle, the edit at the target.": _dai_like(
            ends=lambda p, g: (g, p)
        ),
        "You take the mean over the colours too; the formula sums over them, so your number is a third of DAI.": (
            _dai_like(unlike=lambda d: (d**2).mean())
        ),
        "The sum over the patch isn't divided by its (2γ + 1)² pixels.": _dai_like(unlike=lambda d: (d**2).sum()),
        "You took absolute differences: DAI squares them.": _dai_like(unlike=lambda d: np.abs(d).sum(-1).mean()),
        "Signed differences cancel out: square them before you add anything up.": _dai_like(
            unlike=lambda d: d.sum(-1).mean()
        ),
        "You divide by the number of pairs twice, as the published script does; the formula does it once.": _dai_like(
            over=lambda n: n * n
        ),
        "The patches lack their last row and column: a slice ends *before* its second number.": _dai_like(_cut_short),
        "x and y are swapped: arrays are indexed [row, column], and points are (x, y).": _dai_like(_rows_first),
    },
)


def _maps() -> list[tuple[Any, ...]]:
    """Two feature maps; the second is the first one shifted and slightly disturbed, with other lengths of vectors."""
    chance = np.random.default_rng(2)
    before = chance.normal(size=(6, 14, 18))
    after = np.roll(before, (2, 3), (1, 2)) + 0.1 * chance.normal(size=before.shape)
    after = after * chance.uniform(0.3, 3, size=(1, 14, 18))
    return [(before, after, [(5, 4), (10, 8)], [(9, 5), (12, 11)])]


def _cosine(before: Array, after: Array, handle: Point) -> Array:
    f = before[:, handle[1], handle[0]]
    return np.einsum("c,chw->hw", f, after) / (np.linalg.norm(f) * np.linalg.norm(after, axis=0))


def _dot(before: Array, after: Array, handle: Point) -> Array:
    return np.einsum("c,chw->hw", before[:, handle[1], handle[0]], after)


def _at_most(alike: Array) -> Point:
    y, x = np.unravel_index(int(alike.argmax()), alike.shape)
    return int(x), int(y)


def _distance_like(
    alike: Callable[[Array, Array, Point], Array] = _cosine,
    pick: Callable[[Array], Point] = _at_most,
    aim: Callable[[Point, Point], Point] = lambda p, g: g,
    average: Callable[[list[float]], Any] = np.mean,
) -> Function:
    def distance(before: Array, after: Array, handles: Sequence[Point], targets: Sequence[Point]) -> float:
        lengths = []
        for p, g in zip(handles, targets, strict=True):
            found = pick(alike(before, after, p))
            lengths.append(float(np.linalg.norm(np.subtract(found, aim(p, g)))))
        return average(lengths)

    return distance


MEAN_DISTANCE = Exercise(
    right=_distance_like(),
    inputs=_maps,
    hints=(
        "`alike` is largest where the content went: turn its argmax into (x, y), then measure how far the target is.",
        "alike.argmax() counts along the rows: y, x = np.unravel_index(alike.argmax(), alike.shape).",
    ),
    praise="Mean distance finds the content again and takes a ruler.",
    uses={"np": np, "alike_to": _cosine},
    mistakes={
        "x and y of the found place are swapped: unravel_index gives row (y) first, points are (x, y).": _distance_like(
            pick=lambda alike: _at_most(alike)[::-1]
        ),
        "You measure how far the content is from the *handle*, which says how far it went, not whether it arrived.": (
            _distance_like(aim=lambda p, g: p)
        ),
        "You took the pixel that is *least* alike: argmax, not argmin.": _distance_like(
            pick=lambda alike: _at_most(-alike)
        ),
        "The lengths are added up: mean distance is their mean.": _distance_like(average=np.sum),
        "The vectors aren't scaled to unit length, so a long vector beats a similar one: use the cosine.": (
            _distance_like(_dot)
        ),
    },
)


def _pictures() -> list[tuple[Any, ...]]:
    chance = np.random.default_rng(3)
    return [(chance.random((9, 12, 3)),), (chance.random((16, 8, 3)) ** 2,)]


def _sharpness_like(
    across: Function = lambda a: np.diff(a, axis=1), down: Function = lambda a: np.diff(a, axis=0)
) -> Function:
    return lambda picture: (across(picture) ** 2).mean() + (down(picture) ** 2).mean()


SHARPNESS = Exercise(
    right=_sharpness_like(),
    inputs=_pictures,
    hints=(
        "np.diff(picture, axis=1) is each pixel minus its left neighbour; axis=0 does the same downwards.",
        "a picture of stripes one pixel wide (0, 1, 0, 1 … along x) must give exactly 1.",
    ),
    praise="A judge of quality that looks at one picture alone. How good a judge it is, you will see in a moment.",
    uses={"np": np},
    mistakes={
        "You look along one axis only: blur in the other direction goes unseen.": _sharpness_like(
            down=lambda a: np.zeros(1)
        ),
        "You look along one axis only (downwards): blur in the other direction goes unseen.": _sharpness_like(
            across=lambda a: np.zeros(1)
        ),
        "Without an axis np.diff runs along the last one, which are the colours: say axis=1 and axis=0.": lambda a: (
            2 * (np.diff(a) ** 2).mean()
        ),
        "The differences aren't squared, so light-to-dark and dark-to-light edges cancel out.": lambda a: (
            np.diff(a, axis=1).mean() + np.diff(a, axis=0).mean()
        ),
        "You add up where the mean is asked for, so large pictures look sharper than small ones.": lambda a: (
            (np.diff(a, axis=1) ** 2).sum() + (np.diff(a, axis=0) ** 2).sum()
        ),
        "These are differences from the mean grey, which is contrast: compare *neighbours*.": lambda a: (
            2 * ((a - a.mean()) ** 2).mean()
        ),
    },
)


def _answers() -> list[tuple[Any, ...]]:
    """Three repeats, each with its order of methods at A, B, C and the scores that came back for the letters."""
    orders = [("mine", "rival", "old"), ("old", "mine", "rival"), ("rival", "mine", "old")]
    scores = [{"A": 9, "B": 5, "C": 2}, {"A": 3, "B": 7.5, "C": 6}, {"A": 4, "B": 8, "C": 1.5}]
    return [(orders, scores, method) for method in ("mine", "rival", "old")]


Order = Sequence[str]
Scores = dict[str, float]


def _gscore_like(which: Callable[[Order, str, int], str], average: Callable[[list[float]], Any] = np.mean) -> Function:
    def gscore(orders: Sequence[Order], scores: Sequence[Scores], method: str) -> float:
        pairs = enumerate(zip(orders, scores, strict=True))
        return average([score[which(order, method, k)] for k, (order, score) in pairs])

    return gscore


def _letter(order: Order, method: str, repeat: int = 0) -> str:
    return "ABC"[list(order).index(method)]


GSCORE = Exercise(
    right=_gscore_like(_letter),
    inputs=_answers,
    hints=(
        "in each repeat, find which letter the method stood at, and take the score of that letter; then average.",
        "order.index(method) says at which place it stood: 0 is A, 1 is B, 2 is C.",
    ),
    praise="Only you know who was A. The rater never did.",
    uses={"np": np},
    mistakes={
        "You use the first repeat's letters for all repeats: the order is shuffled anew each time.": lambda o, s, m: (
            np.mean([score[_letter(o[0], m)] for score in s])
        ),
        "You average over all letters, so every method gets the same score.": lambda o, s, m: np.mean(
            [list(score.values()) for score in s]
        ),
        "That is the first repeat alone: average over all of them.": lambda o, s, m: s[0][_letter(o[0], m)],
        "The scores are added up: with ten repeats nobody could compare them with a scale from 0 to 10.": _gscore_like(
            _letter, np.sum
        ),
        "The letters run backwards: the method that stands first is A.": _gscore_like(
            lambda order, method, k: "CBA"[list(order).index(method)]
        ),
    },
)


def _ranks_to_compare() -> list[tuple[Any, ...]]:
    chance = np.random.default_rng(4)
    a = chance.gamma(2.0, size=(5, 4)) * chance.uniform(1, 30, size=(5, 1))
    b = np.exp(a / a.mean(1, keepdims=True)) + chance.normal(size=a.shape)
    return [(a, b)]


def _agreement_like(code: Function = lambda row: rankdata(row), sign: float = 1) -> Function:
    def agreement(a: Array, b: Array) -> float:
        each = [np.corrcoef(code(x), code(sign * y))[0, 1] for x, y in zip(a, b, strict=True)]
        return float(np.mean(each))

    return agreement


AGREEMENT = Exercise(
    right=_agreement_like(),
    inputs=_ranks_to_compare,
    hints=(
        "for each row: rankdata both, np.corrcoef(…)[0, 1] of the ranks; at the end the mean over the rows.",
        "if both judges put the edits of every picture into the same order, the answer must be 1, whatever the scores.",
    ),
    praise="Spearman's correlation, picture by picture, as the paper compares judges.",
    uses={"np": np, "rankdata": rankdata},
    mistakes={
        "These are the scores themselves (Pearson); take their ranks first, as judges use different scales.": (
            _agreement_like(lambda row: row)
        ),
        "All pictures are thrown together: easy and hard pictures then decide. Compare within each picture.": (
            lambda a, b: np.corrcoef(rankdata(a), rankdata(b))[0, 1]
        ),
        "The sign is turned around: judges who agree should get +1.": _agreement_like(sign=-1),
        "argsort gives *which* edit is smallest, not the rank of each edit: use rankdata.": _agreement_like(np.argsort),
        "You rank the methods across pictures; it's within each picture (row) that they are compared.": (
            lambda a, b: _agreement_like()(a.T, b.T)
        ),
    },
)


def _two_methods() -> list[tuple[Any, ...]]:
    chance = np.random.default_rng(5)
    hard = chance.gamma(2.0, size=9)
    a, b = hard + 0.2 * chance.random(9), hard + 0.3 + 0.5 * chance.random(9) ** 2
    return [(a, b, chance.integers(9, size=(400, 9)))]


def _interval_like(resampled: Function, levels: tuple[float, float] = (0.025, 0.975)) -> Function:
    return lambda a, b, rows: np.quantile(resampled(a, b, rows), levels)


INTERVAL = Exercise(
    right=_interval_like(lambda a, b, rows: (a - b)[rows].mean(1)),
    inputs=_two_methods,
    hints=(
        "take the differences first; d[rows] holds them for each draw, so its mean along axis 1 is one mean per draw.",
        "(a - b)[rows].mean(1), then np.quantile at 0.025 and 0.975.",
    ),
    praise="What would other tasks of the same kind have said? The bootstrap asks the tasks that it has.",
    uses={"np": np},
    mistakes={
        "The two methods are drawn apart: then they meet on different tasks, and the pairing is lost.": _interval_like(
            lambda a, b, rows: a[rows].mean(1) - b[rows[::-1]].mean(1)
        ),
        "You take the quantiles of the differences: they say how tasks vary, not how sure their *mean* is.": (
            _interval_like(lambda a, b, rows: a - b)
        ),
        "All draws are pooled: each draw (row) needs a mean of its own.": _interval_like(
            lambda a, b, rows: (a - b)[rows].ravel()
        ),
        "The mean runs over the draws (axis 0); it should run over the tasks of each draw (axis 1).": _interval_like(
            lambda a, b, rows: (a - b)[rows].mean(0)
        ),
        "The difference has the wrong sign: a minus b.": _interval_like(lambda a, b, rows: (b - a)[rows].mean(1)),
        "A 95 % interval leaves out 2.5 % on each side, not 5 %.": _interval_like(
            lambda a, b, rows: (a - b)[rows].mean(1), (0.05, 0.95)
        ),
    },
)

EXERCISES = {
    "dai": DAI,
    "mean_distance": MEAN_DISTANCE,
    "sharpness": SHARPNESS,
    "gscore": GSCORE,
    "agreement": AGREEMENT,
    "paired_interval": INTERVAL,
}
