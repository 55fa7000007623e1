"""Tables of ratings, by models, people or measures of quality: read, checked, averaged.

A table has one row per score with the columns task, method, score and rater; higher is better. Both GScore's tables and
those of the rating widget are of this kind.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
from pyarrow import ArrowException

from gooddrag.bench.statistics import Estimate, estimate
from gooddrag.errors import BadInput

NEEDED = ("task", "method", "score", "rater")


def read_ratings(path: Path) -> pd.DataFrame:
    """Read a CSV or parquet file of ratings.

    A row may lack its score where a column `problem` says why; raters without a name get the file's.

    Raises
    ------
    BadInput
        When the file, a column or a score is missing, or a score is no finite number.
    """
    try:
        if path.suffix.lower() == ".parquet":
            table = pd.read_parquet(path)
        else:
            text = dict.fromkeys(("task", "method", "rater", "problem", "shown_as"), str)
            table = pd.read_csv(path, dtype=text, keep_default_na=False, na_values={"score": [""]})
    except (OSError, ValueError, ArrowException) as error:
        raise BadInput(f"'{path}' can't be read as a table of ratings: it should be CSV or parquet.") from error
    missing = [name for name in NEEDED if name not in table]
    if missing:
        raise BadInput(f"'{path}' lacks {', '.join(missing)}: ratings have the columns {', '.join(NEEDED)}.")
    score = pd.to_numeric(table["score"], errors="coerce").astype(float)
    explained = table["problem"].astype(str) != "" if "problem" in table else pd.Series(False, table.index)
    wrong = ~np.isfinite(score) & ~(explained & table["score"].isna())
    if wrong.any():
        line = int(np.flatnonzero(wrong)[0]) + 1
        raise BadInput(f"Row {line} of '{path}' has no finite score: mend it or take it out.")
    rater = table["rater"].fillna("").astype(str)
    return table.assign(score=score, rater=rater.where(rater.str.strip() != "", path.stem))


def pooled(table: pd.DataFrame, name: str) -> pd.DataFrame:
    """All raters of a table as one, such as the 27 people of the paper's study: each counts once per edit."""
    each = table.groupby(["rater", "task", "method"], as_index=False)["score"].mean()
    return each.assign(rater=name)


def mean_scores(tables: Iterable[pd.DataFrame]) -> pd.DataFrame:
    """Mean score by task and method (rows) and rater (columns); repeats are averaged, missing ones are NaN."""
    together = pd.concat([table[list(NEEDED)] for table in tables])
    return together.pivot_table(index=["task", "method"], columns="rater", values="score", aggfunc="mean")


def gscores(table: pd.DataFrame) -> dict[str, Estimate]:
    """One rater's mean score of each method, over tasks, with the bootstrap interval over tasks; best first."""
    scores = table.dropna(subset="score").groupby(["method", "task"])["score"].mean()
    means = {str(method): estimate(part, np.mean) for method, part in scores.groupby(level="method")}
    return dict(sorted(means.items(), key=lambda pair: -pair[1].value))


def problems(table: pd.DataFrame) -> dict[str, int]:
    """How many questions had no usable answer, by kind."""
    bad = table[table["problem"] != ""].drop_duplicates(["rater", "task", "repeat"])
    return {str(kind): int(count) for kind, count in bad["problem"].value_counts().items()}
