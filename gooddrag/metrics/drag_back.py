"""Drag-back consistency: drag there, then back again; what is left of the original? It needs no truth and no weights.

A method that moved the content returns to where it began. One that broke it, or painted something new, does not. One
that did nothing returns perfectly: read it beside a measure of how far the drag came.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from PIL import Image

from gooddrag.errors import BadInput
from gooddrag.task import DragTask


@dataclass(frozen=True)
class DragBack:
    """RMS difference between the picture that came back and the original, in grey levels; lower is better."""

    inside: float  # the mask, or everywhere where there is none
    outside: float  # NaN where there is no such part
    returned: Image.Image = field(repr=False)
    doubts: tuple[str, ...] = ()


def drag_back(task: DragTask, edited: Image.Image, again: Callable[[DragTask], Image.Image]) -> DragBack:
    """Drag `edited` from the targets to the handles, and compare with the original.

    Parameters
    ----------
    edited
        The result of `task`, of the same size.
    again
        Does the drags of a task, as the way there was done; with an engine: `lambda task: edit(…, task, …).image`.
    """
    if edited.size != task.size:
        raise BadInput(
            f"The edited picture has {edited.width}×{edited.height} px, the task's {task.size[0]}×{task.size[1]}: "
            "only pictures of the same size can be dragged back."
        )
    via = tuple(stops[::-1] for stops in task.via)
    back = DragTask(edited, task.targets, task.handles, task.mask, f"{task.name}-back", task.prompt, via)
    returned = again(back)
    square = ((np.asarray(returned, float) - np.asarray(task.image, float)) ** 2).mean(-1)
    mask = np.ones(square.shape, bool) if task.mask is None else task.mask
    inside, outside = (float(np.sqrt(square[part].mean())) if part.any() else float("nan") for part in (mask, ~mask))
    return DragBack(inside, outside, returned, _doubts(task))


def _doubts(task: DragTask) -> tuple[str, ...]:
    still = int((task.distances == 0).sum())
    return (f"{still} pair(s) of zero length ask for no drag",) if still else ()
