"""Intervals and tests for few, paired, oddly distributed numbers: the bootstrap, and nothing that assumes a shape."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

Statistic = Callable[..., Any]  # takes values (..., n) and axis=, as np.mean and np.median do
RESAMPLES = 10_000


def failures_as_worst(rows: pd.DataFrame, columns: Mapping[str, bool]) -> pd.DataFrame:
    """Rows of a benchmark in which failed edits have the worst value that any edit has, so that failing can't pay.

    `columns` are filled: name → whether more is better.
    """
    worst = {name: rows[name].min() if higher else rows[name].max() for name, higher in columns.items()}
    done = rows["ok"].astype(bool)
    return rows.assign(**{name: rows[name].where(done, value) for name, value in worst.items()})


@dataclass(frozen=True)
class Estimate:
    """A number with its 95 % interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.2f} [{self.low:.2f}, {self.high:.2f}]"


def estimate(values: ArrayLike, statistic: Statistic = np.median, seed: int = 0) -> Estimate:
    """A statistic of `values` (n,) and its 95 % percentile-bootstrap interval."""
    x = np.asarray(values, float)
    low, high = np.quantile(_resampled(x, statistic, seed), [0.025, 0.975])
    return Estimate(float(statistic(x, axis=-1)), float(low), float(high))


@dataclass(frozen=True)
class Comparison:
    """How much a differs from b on the same tasks: the mean of a - b, and how surprising it is."""

    difference: Estimate
    p: float  # two-sided, by the bootstrap: how often resampled means lie on the other side of 0, doubled
    better: float  # share of the tasks where a is smaller than b
    tasks: int


def compare(a: ArrayLike, b: ArrayLike, seed: int = 0) -> Comparison:
    """Compare two methods task by task; smaller is better. a, b (n,), in the same order of tasks."""
    d = np.asarray(a, float) - np.asarray(b, float)
    means = _resampled(d, np.mean, seed)
    beyond = min((means <= 0).mean(), (means >= 0).mean())
    p = min(1.0, 2 * max(float(beyond), 1 / RESAMPLES))
    return Comparison(estimate(d, np.mean, seed), p, float((d < 0).mean()), len(d))


def _resampled(x: NDArray[np.float64], statistic: Statistic, seed: int) -> NDArray[np.float64]:
    rows = np.random.default_rng(seed).integers(len(x), size=(RESAMPLES, len(x)))
    return statistic(x[rows], axis=-1)
