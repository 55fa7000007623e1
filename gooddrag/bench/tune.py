"""Compares settings on tuning tasks (seeds below 1000, never reported on), to choose pocket's own.

    python -m gooddrag.bench.tune strength=0.8 strength=0.88:lora=null r1=3 [--tasks 16]

Each argument is one candidate: changes to `GoodDrag.for_pocket()`, separated by colons. Prints a table, best first.
"""

from __future__ import annotations

import argparse

from gooddrag.bench.datasets import TUNING, open_dataset
from gooddrag.bench.runner import Bench, run
from gooddrag.bench.store import Store
from gooddrag.bench.units import parse_methods


def main() -> None:
    """Run every candidate on the same tasks, and print how far each got."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("candidates", nargs="*")
    parser.add_argument("--tasks", type=int, default=16)
    parser.add_argument("--workers", type=int)
    parser.add_argument("--out", default="runs/tune")
    chosen = parser.parse_args()
    methods = parse_methods(",".join(["gooddrag", *(f"gooddrag:{text}" for text in chosen.candidates)]), "pocket")
    bench = Bench(open_dataset(f"pocket:{chosen.tasks}@{TUNING}"), methods, measures=("truth",))
    table = run(bench, Store(chosen.out), workers=chosen.workers)
    measures = ["error_share", "brokenness", "gained_db", "edit_feature_distance", "seconds", "drags"]
    means = table[table["method"].isin(methods)].groupby("method")[measures].mean()
    print(means.sort_values("edit_feature_distance").round(3).to_string())


if __name__ == "__main__":
    main()
