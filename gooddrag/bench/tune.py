"""Compares settings on tuning tasks (seeds below 1000, never reported on), to choose pocket's own.

    python -m gooddrag.bench.tune strength=0.8 strength=0.88,lora=null r1=3 [--seeds 2]

Each argument is one candidate: changes to `GoodDrag.for_pocket()`, separated by commas. Prints a table, best first.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from gooddrag.bench.runner import Unit, run
from gooddrag.methods import GoodDrag
from gooddrag.pocket.tasks import KINDS
from gooddrag.settings import parse_assignments

TUNING = 100  # seeds from here on, up to 999


def main() -> None:
    """Run every candidate on the same tasks, and print how far each got."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("candidates", nargs="*")
    arguments.add_argument("--seeds", type=int, default=2, help="tasks of each kind")
    arguments.add_argument("--kinds", default=",".join(KINDS))
    arguments.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    arguments.add_argument("--folder", type=Path, default=Path("runs/pocket-report"))
    chosen = arguments.parse_args()
    methods = {"as it is": GoodDrag.for_pocket()}
    for text in chosen.candidates:
        methods[text] = GoodDrag.for_pocket().with_settings(**parse_assignments(text.split(",")))
    units = [
        Unit(label, method, kind, seed)
        for seed in range(TUNING, TUNING + chosen.seeds)
        for kind in chosen.kinds.split(",")
        for label, method in methods.items()
    ]
    table = run(units, chosen.folder, chosen.workers)
    table["gained_db"] = table["edit_psnr"] - table["source_psnr"]
    measures = ["error_share", "brokenness", "gained_db", "edit_feature_distance", "seconds", "drags"]
    means = table.groupby("method")[measures].mean().sort_values("edit_feature_distance")
    print(f"{len(methods)} candidates, {chosen.seeds} seeds of {len(chosen.kinds.split(','))} kinds; means:")
    print(means.round(3).to_string())


if __name__ == "__main__":
    main()
