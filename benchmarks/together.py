"""Are several edits at once faster than one after the other? Both ways alternately, and the ratio.

    python benchmarks/together.py [--method gooddrag] [--edits 2 4 8] [--repeats 3] [--set drags=20]

The edits are of different pictures of pocket's world, with an adapter each where the method learns one. Learning isn't
shared, so that a method with an adapter gains less.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from gooddrag.backbone import Backbone, load_backbone
from gooddrag.doctor import device_name, versions
from gooddrag.editor import edit
from gooddrag.methods import method_for
from gooddrag.pocket.tasks import KINDS, make_task
from gooddrag.settings import parse_assignments
from gooddrag.speed import wait_for
from gooddrag.together import Job, edit_together


def one_by_one(backbone: Backbone, jobs: list[Job]) -> None:
    for task, method in jobs:
        edit(backbone, task, method, use_cache=False)


def at_once(backbone: Backbone, jobs: list[Job]) -> None:
    for result in edit_together(backbone, jobs, use_cache=False):
        if isinstance(result, Exception):
            raise result


def seconds(way: Callable[[Backbone, list[Job]], None], backbone: Backbone, jobs: list[Job]) -> float:
    began = time.perf_counter()
    way(backbone, jobs)
    wait_for(backbone.device)
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", default="pocket")
    parser.add_argument("--method", default="gooddrag")
    parser.add_argument("--edits", type=int, nargs="+", default=[2, 4, 8])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE")
    chosen = parser.parse_args()
    backbone = load_backbone(chosen.backbone)
    method = method_for(chosen.method, chosen.backbone, **parse_assignments(chosen.set))
    kinds = list(KINDS)
    print(f"{backbone.name}, {device_name(backbone.device.type)}, {torch.get_num_threads()} threads, {versions()}")
    print(f"{chosen.method}: {method}")
    for count in chosen.edits:
        jobs = [(make_task(kinds[k % len(kinds)], 500 + k).task, method) for k in range(count)]
        found = [(seconds(one_by_one, backbone, jobs), seconds(at_once, backbone, jobs)) for _ in range(chosen.repeats)]
        alone, together = (statistics.median(column) for column in zip(*found, strict=True))
        ratios = ", ".join(f"{a / b:.2f}" for a, b in found)
        print(f"{count} edits: {alone:.1f} s one by one, {together:.1f} s at once; ratios {ratios}", flush=True)


if __name__ == "__main__":
    main()
