"""Other kinds of drags, each beside the plain drag that it is to better: a path, a region, a mask that was suggested.

    python -m gooddrag.bench.drag_kinds [--tasks 3] [--write]

Edits tasks of pocket's world both ways and prints how much nearer to the true result the new one comes; before that,
how much of what has to change suggested masks hold, on the tasks that their threshold was chosen on. `--write` puts the
first task of each kind into gooddrag/pocket/examples/kinds, and a sheet of pictures into docs/images.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from gooddrag.automask import suggest_mask
from gooddrag.backbone import Backbone, load_backbone
from gooddrag.bench.datasets import FRESH, TUNING, open_dataset
from gooddrag.bench.statistics import estimate
from gooddrag.editor import edit
from gooddrag.files import write_whole
from gooddrag.methods import GoodDrag
from gooddrag.metrics.ground_truth import Score, score
from gooddrag.pocket import EXAMPLES
from gooddrag.pocket.quality import sheet
from gooddrag.pocket.tasks import SIDE, KnownTask, make_task
from gooddrag.pocket.world import render
from gooddrag.region import drag_region
from gooddrag.task import DragTask

STOPS, HOP = 5, 8.0  # stops of a path, and how high it goes, in px
VISIBLE = 10  # grey levels by which a pixel has changed
SHEET = Path("docs/images/drag_kinds.jpg")


@dataclass(frozen=True)
class Pair:
    """A true result and two tasks that ask for it: plainly, and in a new way."""

    known: KnownTask
    plain: DragTask
    new: DragTask


@dataclass(frozen=True)
class Outcome:
    """What came of a pair: both pictures, and both scores."""

    kind: str
    pair: Pair
    pictures: tuple[Image.Image, Image.Image]
    scores: tuple[Score, Score]


def path_pair(_: Backbone, seed: int) -> Pair:
    """A creature that moves: straight to where it shall be, or hopping there in an arc."""
    known = make_task("move", seed)
    handles, targets = known.task.handles, known.task.targets
    along = np.linspace(0, 1, STOPS + 2)[1:-1, None]  # (STOPS, 1), how far each stop is on the way
    hop = np.hstack([0 * along, -HOP * np.sin(np.pi * along)])
    via = [(p + along * (g - p) + hop).clip(0, SIDE - 1) for p, g in zip(handles, targets, strict=True)]
    return Pair(known, known.task, known.task.with_points(handles, targets, via))


def region_pair(_: Backbone, seed: int) -> Pair:
    """A creature that moves: dragged by the nose alone, or by the nose with the whole creature as its region."""
    known = make_task("move", seed)
    nose = known.task.with_points(known.task.handles[:1], known.task.targets[:1])
    return Pair(known, nose, drag_region(nose, render(known.before, SIDE).part >= 0))


def mask_pair(backbone: Backbone, seed: int) -> Pair:
    """A head that turns: without a mask, or with the one that is suggested."""
    known = make_task("turn-head", seed)
    bare = known.task.with_mask(None)
    return Pair(known, bare, bare.with_mask(suggest_mask(backbone, bare)))


KINDS: dict[str, Callable[[Backbone, int], Pair]] = {
    "path": path_pair,
    "region": region_pair,
    "suggested-mask": mask_pair,
}


def outcomes(backbone: Backbone, tasks: int) -> Iterator[Outcome]:
    """Every kind on so many fresh tasks, both ways."""
    method = GoodDrag.for_pocket()
    for kind, make in KINDS.items():
        for seed in range(FRESH, FRESH + tasks):
            pair = make(backbone, seed)
            plain, new = (edit(backbone, task, method.for_way(task)).image for task in (pair.plain, pair.new))
            yield Outcome(kind, pair, (plain, new), (score(pair.known, plain), score(pair.known, new)))


def differences(found: list[Outcome]) -> pd.DataFrame:
    """New minus plain, a row for each kind: means with 95 % bootstrap intervals."""
    columns = {"error left": "error_share", "brokenness": "brokenness", "PSNR (dB)": "edit_psnr"}
    rows = {}
    for kind in dict.fromkeys(o.kind for o in found):
        both = [o.scores for o in found if o.kind == kind]
        rows[kind] = {
            title: str(estimate([getattr(new, name) - getattr(plain, name) for plain, new in both], np.mean))
            for title, name in columns.items()
        }
    return pd.DataFrame(rows).T


def coverage(backbone: Backbone, tasks: int = 16) -> dict[str, float]:
    """Means over tuning tasks: what suggested masks hold of the true change, their share of a picture, given masks'."""
    held, suggested, given = [], [], []
    for sample in open_dataset(f"pocket:{tasks}@{TUNING}").samples:
        task, known = sample.read()
        assert known is not None
        assert task.mask is not None
        apart = np.abs(np.asarray(known.truth, int) - np.asarray(task.image, int)).max(-1)
        mask = suggest_mask(backbone, task)
        held.append(mask[apart > VISIBLE].mean())
        suggested.append(mask.mean())
        given.append(task.mask.mean())
    return {"held": float(np.mean(held)), "suggested": float(np.mean(suggested)), "given": float(np.mean(given))}


def write(found: list[Outcome]) -> None:
    """The first of each kind as a task folder with truth.png, and the sheet."""
    first = {o.kind: o for o in reversed(found)}
    for kind, o in first.items():
        folder, truth = EXAMPLES / "kinds" / kind, o.pair.known.truth
        o.pair.new.write(folder)
        write_whole(folder / "truth.png", lambda part, truth=truth: truth.save(part, "PNG"))
    rows = [
        [o.pair.plain.draw(), o.pictures[0], o.pair.new.draw(), o.pictures[1], o.pair.known.truth]
        for kind in KINDS
        for o in (first[kind],)
    ]
    write_whole(SHEET, lambda part: sheet(rows, side=224).convert("RGB").save(part, "JPEG", quality=88))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, default=3, help="of each kind")
    parser.add_argument("--write", action="store_true", help="write the task folders and the sheet")
    chosen = parser.parse_args()
    backbone = load_backbone("pocket")
    shares = ", ".join(f"{what} {share:.2f}" for what, share in coverage(backbone).items())
    print(f"Masks on 16 tuning tasks, shares: {shares}", flush=True)
    found = list(outcomes(backbone, chosen.tasks))
    print(f"New minus plain, {chosen.tasks} tasks of each kind:\n{differences(found).to_string()}")
    if chosen.write:
        write(found)


if __name__ == "__main__":
    main()
