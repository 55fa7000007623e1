"""How soon does dragging begin, the first time and when the same picture is edited again with other targets?

    python benchmarks/second_edit.py

Prints the seconds from the start of the edit to its first drag, with an empty cache and with what that edit left there.
"""

from __future__ import annotations

import os
import tempfile
import time
from contextlib import closing

import numpy as np

from gooddrag.backbone import Backbone, load_backbone
from gooddrag.editor import iter_edit
from gooddrag.methods import GoodDrag
from gooddrag.pocket import EXAMPLES
from gooddrag.steps import Dragged
from gooddrag.task import DragTask


def seconds_to_first_drag(backbone: Backbone, task: DragTask) -> float:
    began = time.perf_counter()
    with closing(iter_edit(backbone, task, GoodDrag.for_pocket())) as stream:
        next(step for step in stream if isinstance(step, Dragged))
    return time.perf_counter() - began


def main() -> None:
    backbone, task = load_backbone("pocket", device="cpu"), DragTask.read(EXAMPLES / "move-3")
    elsewhere = task.with_points(task.handles, np.add(task.targets, (2.0, 0.0)))
    with tempfile.TemporaryDirectory() as folder:
        os.environ["GOODDRAG_CACHE"] = folder
        first, second = seconds_to_first_drag(backbone, task), seconds_to_first_drag(backbone, elsewhere)
    print(f"first edit   {first:6.2f} s until the first drag")
    print(f"second edit  {second:6.2f} s  ({first / second:.0f} times sooner)")


if __name__ == "__main__":
    main()
