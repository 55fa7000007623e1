"""Intervals and comparisons against what is known of normal numbers."""

import numpy as np
import pytest

from gooddrag.bench.statistics import compare, estimate


def test_an_interval_of_a_mean_is_as_wide_as_theory_says():
    x = np.random.default_rng(0).normal(3, 2, 400)
    e = estimate(x, np.mean)
    assert e.value == pytest.approx(x.mean())
    assert (e.high - e.low) / 2 == pytest.approx(1.96 * x.std() / 20, rel=0.1)
    assert e.low < 3 < e.high


def test_intervals_hold_the_truth_about_as_often_as_they_promise():
    chance = np.random.default_rng(1)
    held = [e.low <= 0 <= e.high for e in (estimate(chance.normal(0, 1, 60), np.mean, k) for k in range(60))]
    assert np.mean(held) >= 0.85


def test_a_paired_comparison_sees_what_is_hidden_by_the_spread_of_tasks():
    chance = np.random.default_rng(2)
    task = chance.normal(0, 10, 64)
    better, worse = task + chance.normal(-0.5, 0.5, 64), task + chance.normal(0, 0.5, 64)
    c = compare(better, worse)
    assert c.p < 0.01
    assert c.difference.high < 0
    assert c.better > 0.6
    assert compare(worse, better).difference.value == pytest.approx(-c.difference.value)


def test_no_difference_is_not_significant():
    chance = np.random.default_rng(3)
    assert compare(chance.normal(size=64), chance.normal(size=64)).p > 0.05


def test_the_same_seed_gives_the_same_interval():
    assert estimate([1, 2, 5, 9]) == estimate([1, 2, 5, 9])
