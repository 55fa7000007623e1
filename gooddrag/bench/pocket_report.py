"""The benchmark on pocket: every method, and the paper's two ideas each alone and together, with verdicts.

    python -m gooddrag.bench.pocket_report [--tasks 64] [--out runs/pocket-report] [--workers 2]

Round trips are no method: pictures that only go into noise and come back are the least broken that an engine can make.
"""

from __future__ import annotations

import argparse
from itertools import chain
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from gooddrag.bench.datasets import open_dataset
from gooddrag.bench.render import write_report
from gooddrag.bench.runner import Bench, run
from gooddrag.bench.statistics import estimate
from gooddrag.bench.store import Store
from gooddrag.files import write_whole
from gooddrag.methods import DragDiffusion, GoodDrag, Method, method_for
from gooddrag.pocket.quality import sheet

ROUND_TRIP = "round trip"
GRADIENT_STEPS = 210  # DragDiffusion gets as many as GoodDrag's 70 drags × 3
RIVALS = ("sdedrag", "dragnoise", "freedrag", "fastdrag")


def methods() -> dict[str, Method]:
    """GoodDrag and its rivals, the four corners of schedule × supervision at equal J, and the round trip."""
    corner = GoodDrag.for_pocket
    rivals = {name: method_for(name) for name in RIVALS}
    return {
        "gooddrag": corner(),
        "dragdiffusion": DragDiffusion.for_pocket(drags=GRADIENT_STEPS),
        "all first, ipms": corner(schedule="drag_then_denoise"),
        "aldd, standard": corner(supervision="standard"),
        "all first, standard": corner(schedule="drag_then_denoise", supervision="standard"),
        **rivals,
        ROUND_TRIP: corner(drags=0, eta=0.0, lora=None),
    }


def verdicts(table: pd.DataFrame) -> str:
    """What the benchmark asks of GoodDrag, and what it got, as Markdown."""
    ours, trips = (table[(table["method"] == m) & table["ok"].astype(bool)] for m in ("gooddrag", ROUND_TRIP))
    limit = float(trips["brokenness"].quantile(0.95))
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
    return "## GoodDrag's verdicts\n\n" + "\n".join(lines) + "\n"


def contact_sheet(table: pd.DataFrame, folder: Path, side: int = 128, across: int = 4) -> Image.Image:
    """Task, edit and truth of every GoodDrag edit, several tasks side by side."""
    rows = table[(table["method"] == "gooddrag") & table["ok"].astype(bool)]
    names = [(f"tasks/{r.task}", f"pictures/{r.key}", f"tasks/{r.task}-truth") for r in rows.itertuples()]
    triples = [[Image.open(folder / f"{name}.png") for name in three] for three in names]
    return sheet([list(chain(*triples[k : k + across])) for k in range(0, len(triples), across)], side)


def main() -> None:
    """Run what is missing, then write report.html, report.md, table.parquet and sheet.png."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, default=64)
    parser.add_argument("--workers", type=int)
    parser.add_argument("--out", type=Path, default=Path("runs/pocket-report"))
    chosen = parser.parse_args()
    store = Store(str(chosen.out))
    table = run(Bench(open_dataset(f"pocket:{chosen.tasks}"), methods()), store, workers=chosen.workers)
    write_report(store, chosen.out)
    text = (chosen.out / "report.md").read_text(encoding="utf-8") + "\n" + verdicts(table)
    write_whole(chosen.out / "report.md", lambda part: part.write_text(text, encoding="utf-8"))
    write_whole(chosen.out / "sheet.png", lambda part: contact_sheet(table, chosen.out).save(part, "PNG"))
    print(text)


if __name__ == "__main__":
    main()
