"""A benchmark's rows → the numbers that answer: which method is better, at what, on which tasks, and how sure is that?

Everything here is a table with a title; `render.py` makes Markdown and HTML of them. A failed edit gets the worst value
that any method has in that measure. The unit of all intervals is the task: seeds are averaged first.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from gooddrag.bench.published import CAVEAT, PUBLISHED
from gooddrag.bench.statistics import compare, estimate, failures_as_worst
from gooddrag.measures import MEASURES, Measure

FEWEST = 2  # tasks that an interval needs


@dataclass(frozen=True, eq=False)
class Section:
    """A part of the report: a table, and what to know about it."""

    title: str
    text: str
    table: pd.DataFrame | None = None


class Results:
    """A benchmark's plan and rows. `reference` is the method that the others are compared with: the first one."""

    def __init__(self, plan: dict[str, Any], rows: pd.DataFrame):
        self.plan, self.rows = plan, rows
        self.methods = [label for label in plan["methods"] if label in set(rows.get("method", ()))]
        self.reference = self.methods[0] if self.methods else ""

    @property
    def columns(self) -> dict[str, tuple[str, Measure]]:
        """The measured columns that there are → measure's name, measure."""
        return {
            column: (name, MEASURES[name])
            for name in self.plan["measures"]
            for column in MEASURES[name].columns
            if column in self.rows and self.rows[column].notna().any()
        }

    def values(self, column: str, rows: pd.DataFrame | None = None) -> pd.DataFrame:
        """Task × method: mean over the seeds, failed edits at the worst value that there is."""
        rows = self.rows if rows is None else rows
        filled = failures_as_worst(self.rows, {column: self.columns[column][1].higher}).loc[rows.index]
        wide = filled.pivot_table(index="sample", columns="method", values=column, aggfunc="mean", sort=False)
        return wide.reindex(columns=[m for m in self.methods if m in wide])

    def doubted(self, measure: str) -> pd.Series:
        """Which rows have something against a measure."""
        return pd.Series([measure in doubts for doubts in self.rows["doubts"]], self.rows.index)


def sections(results: Results) -> Iterator[Section]:
    """The report, in its order."""
    yield _overview(results)
    if results.rows.empty:
        return
    yield from _doubts(results)
    yield _scores(results)
    yield _duels(results)
    for what in ("kind", "category"):
        yield from _breakdown(results, what)
    yield from _seeds(results)
    yield _cost(results)
    yield from _published(results)


def _overview(results: Results) -> Section:
    plan, rows = results.plan, results.rows
    missing, failed = len(plan["units"]) - len(rows), 0 if rows.empty else int((~rows["ok"].astype(bool)).sum())
    tasks = 0 if rows.empty else rows["sample"].nunique()
    lines = [f"Data set {plan['dataset']}: {tasks} tasks, {len(plan['methods'])} methods, {len(rows)} edits."]
    if missing:
        lines.append(f"**{missing} of {len(plan['units'])} results are missing**: the benchmark has not been finished.")
    if failed:
        reasons = Counter(f"{row.method}: {row.reason}" for row in rows[~rows["ok"].astype(bool)].itertuples())
        lines.append(f"{failed} edits failed; they count with the worst value that any method has in a measure.")
        lines += [f"{n} × {reason}" for reason, n in reasons.most_common()]
    if plan["refused"]:
        lines.append(f"{len(plan['refused'])} samples could not be read and are left out for every method.")
        lines += [f"{name}: {why}" for name, why in plan["refused"].items()]
    return Section("Benchmark", "\n".join(lines))


def _doubts(results: Results) -> Iterator[Section]:
    """What speaks against the numbers below, and on how many tasks."""
    found: Counter[tuple[str, str]] = Counter()
    for _, part in results.rows.groupby("sample"):
        found.update({(name, why) for doubts in part["doubts"] for name, whys in doubts.items() for why in whys})
    if found:
        table = pd.DataFrame([{"measure": m, "what": why, "tasks": n} for (m, why), n in found.most_common()])
        yield Section("What can't be trusted", "“Without doubts” below leaves these tasks out.", table)


def _scores(results: Results) -> Section:
    rows, failed = [], results.rows.loc[~results.rows["ok"].astype(bool), "method"].value_counts()
    for column, (name, measure) in results.columns.items():
        trusted = results.rows[~results.doubted(name)]
        all_values = results.values(column)
        sure = results.values(column, trusted) if len(trusted) else all_values.iloc[:0]
        for method in all_values:
            values = all_values[method].dropna()
            rows.append(
                {
                    "measure": measure.columns[column],
                    "better": "higher" if measure.higher else "lower",
                    "method": method,
                    "mean": _mean(values),
                    "without doubts": _mean(sure[method].dropna()) if method in sure else "–",
                    "tasks": len(values),
                    "failed": int(failed.get(method, 0)),
                }
            )
    return Section("All methods", "Means over the tasks with 95 % bootstrap intervals.", pd.DataFrame(rows))


def _mean(values: pd.Series) -> str:
    if len(values) < FEWEST:
        return "–" if values.empty else f"{values.iloc[0]:.3g}"
    e = estimate(values, np.mean)
    return f"{e.value:.3g} [{e.low:.3g}, {e.high:.3g}]"


def _duels(results: Results) -> Section:
    """The reference against each other method, on the tasks that both have done."""
    rows = []
    for column, (_, measure) in results.columns.items():
        wide, sign = results.values(column), -1 if measure.higher else 1
        for other in wide.columns.drop(results.reference, errors="ignore"):
            both = wide[[results.reference, other]].dropna()
            if len(both) < FEWEST:
                continue
            c = compare(sign * both[results.reference], sign * both[other])
            ties = float((both[results.reference] == both[other]).mean())
            low, high = sorted((sign * c.difference.low, sign * c.difference.high))
            rows.append(
                {
                    "measure": measure.columns[column],
                    "against": other,
                    "difference": f"{sign * c.difference.value:+.3g} [{low:+.3g}, {high:+.3g}]",
                    "p": f"{c.p:.4f}",
                    "wins": f"{c.better + ties / 2:.0%}",
                    "tasks": c.tasks,
                }
            )
    text = "Mean difference task by task, its paired bootstrap interval, and the share of tasks won (ties count half)."
    return Section(f"{results.reference} against each", text, pd.DataFrame(rows))


def _breakdown(results: Results, what: str) -> Iterator[Section]:
    """Means by category or kind of task."""
    if results.rows[what].nunique() < 2:
        return
    group = results.rows.drop_duplicates("sample").set_index("sample")[what]
    parts = []
    for column, (_, measure) in results.columns.items():
        means = results.values(column).groupby(group).mean().map(lambda v: f"{v:.3g}")
        parts.append(means.rename_axis(None, axis=1).reset_index().assign(measure=measure.columns[column]))
    table = pd.concat(parts)
    count = group.value_counts()
    table.insert(1, "tasks", table[what].map(count))
    text = "Means; few tasks make wide intervals, so take them as hints."
    yield Section(f"By {what}", text, table[["measure", *table.columns.drop("measure")]])


def _seeds(results: Results) -> Iterator[Section]:
    """Does the ranking depend on the seed?"""
    if results.rows["seed"].nunique() < 2:
        return
    rows = []
    for column, (_, measure) in results.columns.items():
        orders = {}
        for seed, part in results.rows.groupby("seed"):
            means = results.values(column, part).mean().sort_values(ascending=not measure.higher)
            orders[f"seed {seed}"] = " < ".join(means.index) if not measure.higher else " > ".join(means.index)
        same = "yes" if len(set(orders.values())) == 1 else "no"
        rows.append({"measure": measure.columns[column], "same": same} | orders)
    yield Section("Ranking, seed by seed", "Best first.", pd.DataFrame(rows))


def _cost(results: Results) -> Section:
    """Seconds and memory, of the edits that were finished."""
    rows = []
    for method in results.methods:
        part = results.rows[(results.rows["method"] == method) & results.rows["ok"].astype(bool)]
        if part.empty:
            continue
        rows.append(
            {
                "method": method,
                "seconds (median)": str(estimate(part["seconds"])) if len(part) >= FEWEST else "–",
                "slowest": f"{part['seconds'].max():.1f}",
                "peak memory (MB)": f"{part['peak_mb'].max():.0f}",
                "drags (mean)": f"{part['drags'].mean():.1f}",
            }
        )
    text = (
        "Edits with their adapters, unmeasured; edits made together share their time. Memory: of the GPU, or of the "
        "worker's process with all libraries."
    )
    return Section("Cost", text, pd.DataFrame(rows))


def _published(results: Results) -> Iterator[Section]:
    """Other people's numbers beside ours, where the data set is the same."""
    rows = []
    for column, entries in PUBLISHED.get(results.plan["published_as"], {}).items():
        if column not in results.columns:
            continue
        title, means = results.columns[column][1].columns[column], results.values(column).mean()
        rows += [{"measure": title, "method": m, "value": f"{v:.4g}", "source": "here"} for m, v in means.items()]
        rows += [{"measure": title, "method": m, "value": f"{v:.4g}", "source": s} for m, v, s in entries]
    if rows:
        yield Section("Published numbers beside ours", CAVEAT, pd.DataFrame(rows))
