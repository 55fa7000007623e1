"""Do raters agree, and does the place where an edit is shown sway them?

The paper's validation (section 5.3): for each picture the rank correlation between a measure's scores of the methods
and people's, then the mean over pictures.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import rankdata

from gooddrag.bench.statistics import Estimate, estimate

# Mean Spearman correlation with people (27 of them, 12 pictures × 3 methods), as the paper has it.
PUBLISHED = {"GScore": 0.708, "TReS": 0.250, "TOPIQ": 0.083, "MUSIQ": -0.125}
PERMUTATIONS = 5000


@dataclass(frozen=True)
class Agreement:
    """Mean rank correlation of two raters over tasks; None where no task could be compared."""

    a: str
    b: str
    mean: Estimate | None
    per_task: dict[str, float]
    constant: tuple[str, ...]  # tasks where a rater gave all methods the same score: no order to compare
    too_few: tuple[str, ...]  # tasks where they have less than two methods in common


def agreement(scores: pd.DataFrame, a: str, b: str) -> Agreement:
    """Compare two columns of `mean_scores`. Ties get the mean of their ranks."""
    found: dict[str, float] = {}
    constant, too_few = [], []
    for task, part in scores[[a, b]].groupby(level="task"):
        both = part.dropna()
        if len(both) < 2:
            too_few.append(str(task))
        elif both[a].nunique() == 1 or both[b].nunique() == 1:
            constant.append(str(task))
        else:
            found[str(task)] = float(np.corrcoef(rankdata(both[a]), rankdata(both[b]))[0, 1])
    mean = estimate(list(found.values()), np.mean) if found else None
    return Agreement(a, b, mean, found, tuple(constant), tuple(too_few))


def all_pairs(scores: pd.DataFrame) -> Iterator[Agreement]:
    """Every two raters of `mean_scores`."""
    for a, b in combinations(map(str, scores.columns), 2):
        yield agreement(scores, a, b)


@dataclass(frozen=True)
class PositionBias:
    """How much scores lie above what the same edits get elsewhere, for each position, and how surprising that is."""

    by_position: dict[int, Estimate]
    p: float  # of the permutation test: if positions didn't matter, differences this large would be so frequent
    questions: int


def position_bias(table: pd.DataFrame, seed: int = 0, permutations: int = PERMUTATIONS) -> PositionBias | None:
    """Check one rater's GScore table; None where no two positions can be compared.

    The order was drawn at random for each question, so if it doesn't matter, the scores of a question may change places
    among themselves: that is what the test does. The statistic is the sum over positions of n · mean². Intervals are
    bootstrapped over questions.
    """
    rows = table.dropna(subset="score")
    rows = rows[rows.groupby(["task", "repeat"])["score"].transform("size") > 1]
    if rows.empty:
        return None
    repeated = rows.groupby(["task", "method"])["score"].transform("size").min() > 1
    same = ["task", "method"] if repeated else ["task", "repeat"]  # with one repeat: same question, not same edit
    surplus = (rows["score"] - rows.groupby(same)["score"].transform("mean")).to_numpy(float)
    question = rows.groupby(["task", "repeat"]).ngroup().to_numpy()
    position = rows["position"].to_numpy(int)
    seen = _spread(surplus, position)
    chance = np.random.default_rng(seed)
    shuffles = (_spread(surplus, _within(position, question, chance)) for _ in range(permutations))
    p = (1 + sum(shuffled >= seen * (1 - 1e-9) for shuffled in shuffles)) / (1 + permutations)
    means = {int(k): estimate(surplus[position == k], np.mean) for k in np.unique(position)}
    return PositionBias(means, p, len(np.unique(question)))


def _spread(surplus: NDArray[np.float64], position: NDArray[Any]) -> float:
    count, total = np.bincount(position), np.bincount(position, surplus)
    return float((total**2 / np.maximum(count, 1)).sum())


def _within(position: NDArray[Any], question: NDArray[Any], chance: np.random.Generator) -> NDArray[Any]:
    """Positions, shuffled inside each question."""
    home, drawn = np.lexsort((position, question)), np.lexsort((chance.random(len(position)), question))
    shuffled = np.empty_like(position)
    shuffled[drawn] = position[home]
    return shuffled
