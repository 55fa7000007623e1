"""Compares settings on tuning tasks (seeds below 1000, never reported on), to choose pocket's own.

    python -m gooddrag.bench.tune strength=0.8 strength=0.88,lora=null r1=3 [--seeds 2]

Each argument is one candidate: changes to `GoodDrag.for_pocket()`, separated by commas. Prints a table, best first.
"""

from __future__ import annotations

from gooddrag.bench.runner import TUNING, arguments, run, units_of
from gooddrag.methods import GoodDrag
from gooddrag.settings import parse_assignments


def main() -> None:
    """Run every candidate on the same tasks, and print how far each got."""
    parser = arguments(__doc__)
    parser.add_argument("candidates", nargs="*")
    parser.set_defaults(seeds=2)
    chosen = parser.parse_args()
    methods = {"as it is": GoodDrag.for_pocket()}
    for text in chosen.candidates:
        methods[text] = GoodDrag.for_pocket().with_settings(**parse_assignments(text.split(",")))
    table = run(units_of(methods, chosen, TUNING), chosen.folder, chosen.workers)
    measures = ["error_share", "brokenness", "gained_db", "edit_feature_distance", "seconds", "drags"]
    means = table.groupby("method")[measures].mean().sort_values("edit_feature_distance")
    print(f"{len(methods)} candidates, {chosen.seeds} seeds of {len(chosen.kinds.split(','))} kinds; means:")
    print(means.round(3).to_string())


if __name__ == "__main__":
    main()
