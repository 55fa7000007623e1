"""Dragging accuracy index: does the target look like the handle did? (paper, section 4)"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gooddrag.errors import BadInput
from gooddrag.task import DragTask

RADII = (1, 5, 10, 20)  # px, the paper's table


@dataclass(frozen=True)
class Dai:
    """The index in both forms, lower is better, and what stands against trusting it.

    The published script divides by the number of pairs twice; which form the paper's table has is not known.
    """

    paper: float
    official: float
    pairs: int
    doubts: tuple[str, ...] = ()


def dai(task: DragTask, edited: Image.Image, radius: int = 1) -> Dai:
    """(1/n) Σᵢ Σ over the patch of ‖original(pᵢ + o) − edited(gᵢ + o)‖² / (1 + 2γ)², pictures in 0..1, channels summed.

    Parameters
    ----------
    task
        Picture, handles p and targets g, in image px; they are rounded to whole pixels.
    edited
        The result, as large as the task's picture.
    radius
        γ, in image px. Of a patch that leaves the picture, the pixels that both patches have are compared, and the sum
        is scaled up to a whole patch.

    Raises
    ------
    BadInput
        When the sizes differ or the radius is negative.
    """
    if edited.size != task.image.size:
        raise BadInput(
            f"The edited picture has {edited.width}×{edited.height} px, the task's has {task.image.width}×"
            f"{task.image.height}: measure pictures of the same size."
        )
    if radius < 0:
        raise BadInput(f"The radius can't be {radius}: use 0 px or more.")
    a, b = (np.asarray(p.convert("RGB"), float) / 255 for p in (task.image, edited))
    pairs = list(zip(np.rint(task.handles).astype(int), np.rint(task.targets).astype(int), strict=True))
    mean = sum(_patch_difference(a, b, p, g, radius) for p, g in pairs) / len(pairs)
    return Dai(mean, mean / len(pairs), len(pairs), _doubts(task, radius))


def _patch_difference(
    a: NDArray[np.float64], b: NDArray[np.float64], p: NDArray[Any], g: NDArray[Any], radius: int
) -> float:
    height, width = a.shape[:2]
    offsets = np.arange(-radius, radius + 1)
    (x, on_x), (y, on_y) = (
        ((p[k] + offsets, g[k] + offsets), _on(p[k] + offsets, size) & _on(g[k] + offsets, size))
        for k, size in ((0, width), (1, height))
    )
    before = a[np.ix_(y[0][on_y], x[0][on_x])]
    after = b[np.ix_(y[1][on_y], x[1][on_x])]
    return float(((before - after) ** 2).sum(-1).mean())


def _on(where: NDArray[Any], size: int) -> NDArray[np.bool_]:
    return (where >= 0) & (where < size)


def _doubts(task: DragTask, radius: int) -> tuple[str, ...]:
    doubts = []
    still = int((np.rint(task.handles) == np.rint(task.targets)).all(1).sum())
    if still:
        doubts.append(f"{still} pair(s) of zero length measure that nothing changed, not a drag")
    points, (width, height) = np.concatenate([task.handles, task.targets]), task.image.size
    edge = np.minimum(points, [width - 1, height - 1] - points).min(1)
    if (edge < radius).any():
        doubts.append("patches are cut at the border")
    if _turns(task):
        doubts.append("the arrows turn or stretch: patches are compared as they are, so a rotated one counts as unlike")
    return tuple(doubts)


def _turns(task: DragTask) -> bool:
    """Do the arrows differ so much that the patches can't all have been shifted only?"""
    arrows = task.targets - task.handles
    lengths = np.linalg.norm(arrows, axis=1)
    if len(arrows) < 2 or math.isclose(lengths.max(), 0):
        return False
    return float(np.linalg.norm(arrows - arrows.mean(0), axis=1).max()) > 0.25 * float(lengths.max())
