"""The pocket benchmark: every method on fresh tasks with a known truth, measured, compared, and shown.

    python -m gooddrag.bench.pocket_report [--seeds 8] [--methods gooddrag,…] [--workers 2]

A run that was cut short goes on where it was (see `runner.py`).
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

import numpy as np
import pandas as pd
from PIL import Image

from gooddrag.bench.runner import FRESH, arguments, run, units_of
from gooddrag.bench.statistics import Comparison, compare, estimate
from gooddrag.files import write_whole
from gooddrag.methods import DragDiffusion, GoodDrag, Method
from gooddrag.pocket.quality import sheet
from gooddrag.pocket.tasks import make_task

ROUND_TRIP = "round trip"  # not a method: pictures that only go into noise and come back, the best the engine can do
GRADIENT_STEPS = 210  # every method gets as many as GoodDrag's 70 drags × 3


def methods() -> dict[str, Method]:
    """What is compared: the two methods, and the four corners of schedule × supervision at equal J."""
    corner = GoodDrag.for_pocket
    return {
        "gooddrag": corner(),
        "dragdiffusion": DragDiffusion.for_pocket(drags=GRADIENT_STEPS),
        "all first, ipms": corner(schedule="drag_then_denoise"),
        "aldd, standard": corner(supervision="standard"),
        "all first, standard": corner(schedule="drag_then_denoise", supervision="standard"),
    }


def verdicts(table: pd.DataFrame, limit: float) -> list[str]:
    """What the benchmark asks of GoodDrag, and what it got; `limit` is the brokenness that round trips stay under."""
    ours = table[table["method"] == "gooddrag"]
    share = {
        "nearer to its target than it began": ours["error_share"] < 1,
        "nearer to the true picture than the source, by masked PSNR": ours["gained_db"] > 0,
        "nearer to the true picture, by feature distance": ours["edit_feature_distance"]
        < ours["source_feature_distance"],
        f"no more broken than 95 % of the round trips ({limit:.1f} grey levels)": ours["brokenness"] <= limit,
    }
    lines = [f"- median share of the distance that is left: {estimate(ours['error_share'])}"]
    lines += [f"- {what}: {estimate(yes, np.mean)} of the tasks" for what, yes in share.items()]
    lines.append(f"- median seconds for an edit, adapter included: {estimate(ours['seconds'])}")
    return lines


def contests(table: pd.DataFrame) -> Iterator[tuple[str, str, str, Comparison]]:
    """GoodDrag against each other method, and the two ideas each alone; on the tasks that both have done."""
    pairs = [("gooddrag", other) for other in methods() if other != "gooddrag"]
    pairs += [("all first, ipms", "all first, standard"), ("aldd, standard", "all first, standard")]
    for measure in ("error_share", "brokenness", "edit_feature_distance"):
        wide = table.pivot_table(index=["kind", "seed"], columns="method", values=measure)
        for a, b in pairs:
            if a in wide and b in wide:
                both = wide[[a, b]].dropna()
                yield measure, a, b, compare(both[a], both[b])


def report(table: pd.DataFrame, round_trips: pd.Series) -> str:
    """The numbers as a page of Markdown."""
    limit = float(round_trips.quantile(0.95))
    lines = [
        "# Pocket benchmark",
        "",
        f"{table.groupby(['kind', 'seed']).ngroups} fresh tasks with a known truth; made by `make pocket-report`. "
        "Numbers are medians with 95 % bootstrap intervals, unless they say otherwise.",
        "",
        "## GoodDrag",
        *verdicts(table, limit),
        "",
        "## All methods, at equal gradient steps",
        "| method | error left / asked | brokenness (grey levels) | PSNR gained (dB) | feature distance | tasks |",
        "|---|---|---|---|---|---|",
    ]
    for name, part in table.groupby("method", sort=False):
        cells = [part[m] for m in ("error_share", "brokenness", "gained_db", "edit_feature_distance")]
        lines.append(f"| {name} | " + " | ".join(str(estimate(c)) for c in cells) + f" | {len(part)} |")
    lines += [
        "",
        "## Task by task: mean difference a − b (below 0: a is better)",
        "| measure | a | b | difference | p | a better in |",
        "|---|---|---|---|---|---|",
    ]
    for measure, a, b, c in contests(table):
        lines.append(f"| {measure} | {a} | {b} | {c.difference} | {c.p:.4f} | {c.better:.0%} of {c.tasks} |")
    lines += [
        "",
        "## GoodDrag by kind of task",
        "| kind | error left / asked | brokenness | PSNR gained (dB) |",
        "|---|---|---|---|",
    ]
    for kind, part in table[table["method"] == "gooddrag"].groupby("kind", sort=False):
        cells = [part[m] for m in ("error_share", "brokenness", "gained_db")]
        lines.append(f"| {kind} | " + " | ".join(f"{np.median(c):.2f}" for c in cells) + " |")
    return "\n".join(lines) + "\n"


def contact_sheet(table: pd.DataFrame, side: int = 128, across: int = 4) -> Image.Image:
    """Source, edit and truth of every GoodDrag edit, several tasks side by side."""
    triples = []
    for row in table[table["method"] == "gooddrag"].itertuples():
        known = make_task(str(row.kind), int(row.seed))  # type: ignore[arg-type]
        triples.append([known.task.draw(4), Image.open(str(row.picture)), known.truth])
    return sheet([list(chain(*triples[k : k + across])) for k in range(0, len(triples), across)], side)


def main() -> None:
    """Run what is missing, then write report.md, rows.csv and sheet.png."""
    parser = arguments(__doc__)
    parser.add_argument("--methods", default=",".join(methods()))
    parser.add_argument("--first-seed", type=int, default=FRESH, help="below 1000: tuning tasks")
    chosen = parser.parse_args()
    compared = {label: methods()[label] for label in chosen.methods.split(",")}
    compared[ROUND_TRIP] = GoodDrag.for_pocket(drags=0, lora=None)
    everything = run(units_of(compared, chosen, chosen.first_seed), chosen.folder, chosen.workers)
    trips = everything["method"] == ROUND_TRIP
    table = everything[~trips]
    text = report(table, everything[trips]["brokenness"])
    write_whole(chosen.folder / "report.md", lambda part: part.write_text(text))
    write_whole(chosen.folder / "rows.csv", lambda part: table.drop(columns="picture").to_csv(part, index=False))
    write_whole(chosen.folder / "sheet.png", lambda part: contact_sheet(table).save(part, "PNG"))
    print(text)


if __name__ == "__main__":
    main()
