"""How long an edit takes by one method and by another: alternately on the same tasks, nothing cached.

    OMP_NUM_THREADS=1 python benchmarks/side_by_side.py [gooddrag gooddrag-fast gooddrag:lora=null] [--tasks 8]

Methods are named as in `gooddrag bench`, with changes after colons; all are compared with the first.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import torch
from rich.progress import track

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.together import one_by_one, seconds
from gooddrag.backbone import load_backbone
from gooddrag.bench.statistics import estimate
from gooddrag.bench.units import parse_methods
from gooddrag.doctor import device_name, versions
from gooddrag.pocket.tasks import KINDS, make_task


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("methods", nargs="*", default=["gooddrag", "gooddrag-fast", "gooddrag:lora=null"])
    parser.add_argument("--backbone", default="pocket")
    parser.add_argument("--tasks", type=int, default=8)
    chosen = parser.parse_args()
    backbone = load_backbone(chosen.backbone)
    methods = parse_methods(",".join(chosen.methods), chosen.backbone)
    tasks = [make_task(list(KINDS)[k % len(KINDS)], k // len(KINDS)).task for k in range(chosen.tasks)]
    for method in methods.values():  # what happens once is no edit's fault
        one_by_one(backbone, [(tasks[0], method)])
    took = {label: np.empty(len(tasks)) for label in methods}
    for k, task in enumerate(track(tasks, "Editing …", transient=True)):
        for label, method in methods.items():
            took[label][k] = seconds(one_by_one, backbone, [(task, method)])
    first, *_ = took.values()
    print(f"{device_name(backbone.device.type)}, {torch.get_num_threads()} threads, {versions()}")
    print(f"{len(tasks)} tasks, median with 95 % interval\n")
    print("| method | seconds an edit | times as fast |\n|---|---|---|")
    for label, each in took.items():
        print(f"| {label} | {estimate(each)} | {estimate(first / each)} |")


if __name__ == "__main__":
    main()
