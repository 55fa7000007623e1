"""Runs many edits of pocket tasks, in several processes.

Each leaves one row and one picture, so a run that was cut short goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pandas as pd
import torch
from rich.progress import track

from gooddrag.backbone import Backbone, load_backbone
from gooddrag.cache import content_key
from gooddrag.editor import edit
from gooddrag.files import write_whole
from gooddrag.methods import Method
from gooddrag.metrics.ground_truth import score
from gooddrag.pocket.tasks import KINDS, make_task

TUNING, FRESH = 100, 1000  # seeds below 1000 may choose settings; those from there on are for reports only


@dataclass(frozen=True)
class Unit:
    """One edit to do. `label` is the method's name in tables."""

    label: str
    method: Method
    kind: str
    seed: int

    def row(self, folder: Path) -> Path:
        """Where its row goes: under weights and settings, so that old numbers never mix with new ones."""
        place = content_key(engine().fingerprint, self.method.model_dump())[:12]
        return folder / place / f"{self.kind}-{self.seed}.json"


@cache
def engine() -> Backbone:
    """This process's backbone. Pocket is too small for more than one thread: two processes do twice the work."""
    torch.set_num_threads(1)
    return load_backbone("pocket", device="cpu")


def do(unit: Unit, folder: Path) -> None:
    """Edit, measure, and write picture and row."""
    path = unit.row(folder)
    known = make_task(unit.kind, unit.seed)
    began = time.perf_counter()
    result = edit(engine(), known.task, unit.method)
    seconds = time.perf_counter() - began
    table = result.trace.table
    facts = {
        "kind": unit.kind,
        "seed": unit.seed,
        "seconds": seconds,
        "reached": result.reached,
        "drags": int(table["drag"].max()),
        "tracked_px": float(table.groupby("point")["distance"].last().mean()),
        **score(known, result.image).to_dict(),
    }
    write_whole(path.with_suffix(".png"), lambda part: result.image.save(part, "PNG"))
    write_whole(path, lambda part: part.write_text(json.dumps(facts)))


def arguments(description: str | None) -> argparse.ArgumentParser:
    """What every benchmark may be asked for."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=8, help="tasks of each kind")
    parser.add_argument("--kinds", default=",".join(KINDS))
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--folder", type=Path, default=Path("runs/pocket-report"))
    return parser


def units_of(methods: Mapping[str, Method], chosen: argparse.Namespace, first_seed: int) -> list[Unit]:
    """Every method on every chosen task."""
    return [
        Unit(label, method, kind, seed)
        for seed in range(first_seed, first_seed + chosen.seeds)
        for kind in chosen.kinds.split(",")
        for label, method in methods.items()
    ]


def run(units: Sequence[Unit], folder: Path, workers: int) -> pd.DataFrame:
    """Do what is not done yet; returns all rows. A failed edit is reported and leaves no row."""
    missing = [unit for unit in units if not unit.row(folder).exists()]
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        jobs = {pool.submit(do, unit, folder): unit for unit in missing}
        for job in track(as_completed(jobs), "edits", total=len(jobs)):
            if job.exception() is not None:
                print(f"{jobs[job].label}, {jobs[job].kind}-{jobs[job].seed}: {job.exception()}")
    return rows(units, folder)


def rows(units: Sequence[Unit], folder: Path) -> pd.DataFrame:
    """What is done: one row for each unit, with the path of its picture."""
    paths = {unit: unit.row(folder) for unit in units}
    table = pd.DataFrame(
        json.loads(path.read_text()) | {"method": unit.label, "picture": str(path.with_suffix(".png"))}
        for unit, path in paths.items()
        if path.exists()
    )
    return table.assign(gained_db=table["edit_psnr"] - table["source_psnr"])
