"""The benchmark on pocket: every method, and the paper's two ideas each alone and together, with verdicts.

    python -m gooddrag.bench.pocket_report [--tasks 64] [--out runs/pocket-report] [--workers 2] [--publish docs]

Round trips are no method: pictures that only go into noise and come back are the least broken that an engine can make.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image
from scipy.stats import spearmanr

from gooddrag.bench.datasets import open_dataset
from gooddrag.bench.render import markdown, write_report
from gooddrag.bench.report import Section
from gooddrag.bench.runner import Bench, run
from gooddrag.bench.statistics import Estimate, compare, estimate, failures_as_worst
from gooddrag.bench.store import Store
from gooddrag.files import write_whole
from gooddrag.methods import DragDiffusion, GoodDrag, Method, method_for
from gooddrag.pocket.quality import sheet

ROUND_TRIP = "round trip"
GRADIENT_STEPS = 210  # DragDiffusion gets as many as GoodDrag's 70 drags × 3
RIVALS = ("sdedrag", "dragnoise", "freedrag", "fastdrag", "gooddrag-fast")
ASKED = {  # what the paper claims, as pairs of methods that differ in that alone
    "GoodDrag against DragDiffusion, equal gradient steps": ("gooddrag", "dragdiffusion"),
    "AlDD against all drags first, with IPMS": ("gooddrag", "all first, ipms"),
    "AlDD against all drags first, with the standard loss": ("aldd, standard", "all first, standard"),
    "IPMS against the standard loss at equal J, with AlDD": ("gooddrag", "aldd, standard"),
    "IPMS against the standard loss at equal J, all drags first": ("all first, ipms", "all first, standard"),
    "GoodDrag's fast settings against its usual ones": ("gooddrag-fast", "gooddrag"),
}
MEASURED = {"error_share": "share of the distance left", "brokenness": "brokenness (grey levels)"}
SHORT = MEASURED | {
    "gained_db": "nearer to the true picture (dB)",
    "dai_1": "DAI, 1 px",
    "outside": "change outside the mask (grey levels)",
}
ROWS = (
    *("sample", "kind", "method", "seed", "ok", "reason", "seconds", "together", "drags"),
    *("asked_px", "error_px", "error_share", "source_psnr", "edit_psnr", "gained_db"),
    *("source_feature_distance", "edit_feature_distance", "source_brokenness", "brokenness"),
    *("dai_1", "md", "outside", "drift", "fingerprint"),
)
LEAD = """\
# Benchmark on pocket

Pictures of pocket's world come with the truth: where each landmark should be, and how the whole picture should look. So
these numbers need no judge. {tasks} tasks, eight kinds of drags, on scenes that had no say in any setting; every method
with the same mask and points. One command makes it all (hours, and it goes on where it was stopped):

```
make bench-pocket REPORT_ARGS="--publish docs"
```

It also leaves a page with every measure and every picture of every method, `runs/pocket-report/report.html`. The rows
behind the tables here are in [pocket-report.csv](pocket-report.csv). Ranges in brackets are 95 % bootstrap intervals
over the tasks. **Share of the distance left** compares where the dragged landmarks ended, read off the picture, with
where they should be: 0 has arrived, 1 has not moved. **Brokenness** is what no creature of this world explains. Less is
better in both. The [model card](../gooddrag/pocket/weights/README.md) says how they are measured.

`all first, ipms`, `aldd, standard` and `all first, standard` are GoodDrag with its schedule, its supervision or both
exchanged and nothing else. `round trip` is no method: a picture that only goes into noise and comes back, the least
broken that this engine can make. What the rivals simplify is told in [rivals.md](rivals.md).
"""


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


def verdicts(table: pd.DataFrame) -> Iterator[Section]:
    """What the benchmark asks, and what came out. Failed edits are left out here; the tables above count them."""
    done = table[table["ok"].astype(bool)]
    yield _gooddrags_own(done)
    yield _claims(done)
    yield _stability(done)


def overview(table: pd.DataFrame) -> Iterator[Section]:
    """For a first look: a line for each method with what matters most, and how far each gets with each kind of drag."""
    filled = failures_as_worst(table, {column: column == "gained_db" for column in SHORT})
    order = filled.groupby("method")["error_share"].median().sort_values().index
    rows = []
    for method in order:
        part = filled[filled["method"] == method]
        cells = {title: str(estimate(part[column])) for column, title in SHORT.items()}
        seconds = _seconds(part)
        cost = f"{seconds.median():.0f}" if len(seconds) else "–"
        rows.append({"method": method} | cells | {"seconds": cost, "failed": int((~part["ok"].astype(bool)).sum())})
    text = (
        "Medians over the tasks; a failed edit counts with the worst value of all methods. Seconds: one thread, while "
        "the machine was at other work beside; of edits that shared their passes with no others."
    )
    yield Section("All methods", text, pd.DataFrame(rows))
    kinds = filled.pivot_table(index="method", columns="kind", values="error_share", aggfunc="median", sort=False)
    kinds = kinds.loc[order].map("{:.2f}".format).rename_axis(None, axis=1).reset_index()
    yield Section("By kind of drag", "Share of the distance left, median.", kinds)


def _gooddrags_own(done: pd.DataFrame) -> Section:
    """GoodDrag against what this project asked of it before the first edit was made."""
    ours, trips = (done[done["method"] == m] for m in ("gooddrag", ROUND_TRIP))
    limit, seconds = float(trips["brokenness"].quantile(0.95)), _seconds(ours)
    near = ours["edit_feature_distance"] < ours["source_feature_distance"]
    rows = [
        ("share of the distance that is left (median)", "≤ 0.25", estimate(ours["error_share"])),
        ("tasks: nearer to its target than it began", "≥ 0.90", _share(ours["error_share"] < 1)),
        ("tasks: nearer to the true picture than the source, by masked PSNR", "≥ 0.70", _share(ours["gained_db"] > 0)),
        ("tasks: nearer to the true picture, by feature distance", "–", _share(near)),
        (
            f"tasks: no more broken than 95 % of the round trips ({limit:.1f} grey levels)",
            "≥ 0.85",
            _share(ours["brokenness"] <= limit),
        ),
        ("seconds for an edit, adapter included (median)", "≤ 45", estimate(seconds) if len(seconds) else "–"),
    ]
    text = f"{len(ours)} tasks, and what was asked for before any of them was run."
    return Section("GoodDrag by itself", text, pd.DataFrame(rows, columns=["what", "asked", "found"]).astype(str))


def _seconds(part: pd.DataFrame) -> pd.Series:
    """What edits took that shared nothing with others, where that was measured; there may be none."""
    alone = part[part["together"].fillna(1) == 1] if "together" in part else part
    return alone["seconds"].dropna()


def _share(yes: pd.Series) -> Estimate:
    return estimate(yes, np.mean)


def _claims(done: pd.DataFrame) -> Section:
    rows = []
    for claim, (one, other) in ASKED.items():
        for column, title in MEASURED.items():
            both = done.pivot_table(index="sample", columns="method", values=column).reindex(columns=[one, other])
            both = both.dropna()
            if len(both) > 1:
                c = compare(both[one], both[other])
                facts = {
                    "difference": str(c.difference),
                    "p": f"{c.p:.4f}",
                    "wins": f"{c.better:.0%}",
                    "tasks": c.tasks,
                }
                rows.append({"claim": claim, "measure": title} | facts)
    text = "Mean of the first minus the second, task by task (below 0: the first is better), paired bootstrap."
    return Section("What the paper claims", text, pd.DataFrame(rows))


def _stability(done: pd.DataFrame) -> Section:
    """Do two halves of the tasks, other scenes of the same kinds, rank the methods alike?"""
    edits = done[done["method"] != ROUND_TRIP]
    half = edits["sample"].str.rsplit("-", n=1).str[1].astype(int) % 2
    rows = []
    for column, title in MEASURED.items():
        means = edits.groupby([half, "method"])[column].mean().unstack(0).dropna()
        if means.shape[1] == 2:
            orders = {
                f"{name} seeds": " < ".join(means[k].sort_values().index) for k, name in ((0, "even"), (1, "odd"))
            }
            rows.append({"measure": title, "rank correlation": f"{spearmanr(means[0], means[1])[0]:.2f}"} | orders)
    text = "The tasks in two halves, by even and odd seeds: mean of each method, best first."
    return Section("Is the ranking stable?", text, pd.DataFrame(rows))


def contact_sheet(table: pd.DataFrame, folder: Path, side: int = 128, across: int = 4) -> Image.Image:
    """Task, edit and truth of every GoodDrag edit, kind by kind, several tasks side by side."""
    rows = table[(table["method"] == "gooddrag") & table["ok"].astype(bool)].sort_values(["kind", "sample"])
    names = [(f"tasks/{r.task}", f"pictures/{r.key}", f"tasks/{r.task}-truth") for r in rows.itertuples()]
    triples = [[Image.open(folder / f"{name}.png") for name in three] for three in names]
    return sheet([list(chain(*triples[k : k + across])) for k in range(0, len(triples), across)], side)


def publish(table: pd.DataFrame, picture: Image.Image, docs: Path) -> None:
    """Put what matters most, the sheet and all rows where the documentation has them."""
    image, rows = docs / "images" / "pocket_report.jpg", docs / "pocket-report.csv"
    write_whole(image, lambda part: picture.convert("RGB").save(part, "JPEG", quality=88))
    kept = table[[c for c in ROWS if c in table]].round(4)
    write_whole(rows, lambda part: kept.to_csv(part, index=False))
    first, *others = verdicts(table)
    parts = markdown([first, *overview(table), *others], level=2)
    alt = "Source with its arrows, GoodDrag's edit and the true picture of every task"
    kinds = ", ".join(sorted(set(table["kind"])))
    told = f"Source with its arrows, edit, truth; four tasks a row, in the order of their kinds: {kinds}."
    lead = LEAD.format(tasks=table["sample"].nunique())
    if missing := [f"`{name}`" for name in methods() if name not in set(table["method"])]:
        lead += f"\nStill to be run: {', '.join(missing)}.\n"
    page = f"{lead}\n{parts}\n## Every task\n\n{told}\n\n![{alt}](images/{image.name})\n"
    write_whole(docs / "pocket-report.md", lambda part: part.write_text(page, encoding="utf-8"))


def main() -> None:
    """Run what is missing, then write report.html, report.md, table.parquet and sheet.png."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, default=64)
    parser.add_argument("--workers", type=int)
    parser.add_argument("--together", type=int, default=1, help="edits of one method that a worker makes at once")
    parser.add_argument("--out", type=Path, default=Path("runs/pocket-report"))
    parser.add_argument("--publish", type=Path, metavar="DOCS", help="also write pocket-report.md and its sheet there")
    chosen = parser.parse_args()
    store = Store(str(chosen.out))
    table = run(
        Bench(open_dataset(f"pocket:{chosen.tasks}"), methods()),
        store,
        workers=chosen.workers,
        together=chosen.together,
    )
    write_report(store, chosen.out, verdicts(table))
    text = (chosen.out / "report.md").read_text(encoding="utf-8")
    picture = contact_sheet(table, chosen.out)
    write_whole(chosen.out / "sheet.png", lambda part: picture.save(part, "PNG"))
    if chosen.publish:
        publish(table, picture, chosen.publish)
    print(text)


if __name__ == "__main__":
    main()
