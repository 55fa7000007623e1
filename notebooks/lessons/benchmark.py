"""The stored benchmark of lesson 08: docs/pocket-report.csv, which this makes anew (in hours; it goes on where it was):

make bench-pocket REPORT_ARGS="--publish docs"
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from gooddrag.bench.datasets import open_dataset
from gooddrag.bench.pocket_report import methods
from gooddrag.bench.runner import Bench
from gooddrag.bench.statistics import failures_as_worst
from gooddrag.bench.units import Engine, do, fingerprint
from gooddrag.errors import BadInput, EditFailed

TABLE = Path(__file__).parents[2] / "docs" / "pocket-report.csv"
TASKS = "pocket:64"
MEASURES = {  # column → what it is called, and whether more is better
    "error_share": ("share of the way left", False),
    "brokenness": ("brokenness, grey levels", False),
    "gained_db": ("nearer to the true picture, dB", True),
    "dai_1": ("DAI, γ = 1", False),
    "outside": ("change outside the mask, grey levels", False),
}


def stored(table: Path = TABLE) -> pd.DataFrame:
    """Its rows, by method and task; a failed edit has the worst value of all methods, as in the report.

    Raises
    ------
    BadInput
        When it is not there.
    """
    if not table.is_file():
        raise BadInput(
            f"There is no table '{table.name}': make it with make bench-pocket REPORT_ARGS=\"--publish docs\"."
        )
    rows = pd.read_csv(table).set_index(["method", "sample"]).sort_index()
    return failures_as_worst(rows, {name: more_is_better for name, (_, more_is_better) in MEASURES.items()})


def again(method: str, task: str) -> dict[str, Any]:
    """One of its rows, computed anew.

    Raises
    ------
    EditFailed
        When the edit failed.
    """
    dataset, engine = open_dataset(TASKS), Engine()
    one = replace(dataset, samples=tuple(sample for sample in dataset.samples if sample.name == task))
    (unit,) = Bench(one, {method: methods()[method]}, engine=engine).plan(fingerprint(engine)).units
    ((row, _),) = do([unit], engine, 1)
    if not row["ok"]:
        raise EditFailed(f"{method}, {task}: {row['reason']}")
    return row
