"""Region drags: an area moves along with its handles. Nothing new for the engine: the area is tiled with handles."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from gooddrag.errors import BadInput
from gooddrag.task import DragTask

MOST = 12  # handles that tile a region: enough to keep it together, few enough to follow each with the eye


def polygon_area(corners: Sequence[tuple[float, float]], size: tuple[int, int]) -> NDArray[np.bool_]:
    """The pixels (H, W) in a polygon of image px, its outline included, on a picture of `size` (width, height)."""
    if len(corners) < 3:
        raise BadInput(f"A region has {len(corners)} corner(s): give at least three.")
    canvas = Image.new("1", size)
    ImageDraw.Draw(canvas).polygon([tuple(map(float, corner)) for corner in corners], fill=1, outline=1)
    return np.asarray(canvas)


def drag_region(task: DragTask, area: NDArray[np.bool_], most: int = MOST) -> DragTask:
    """The same task with about `most` more handles all over an area, which go where the task's own drags carry it.

    One drag shifts the area (along its path, where it has one); of several, those whose handles lie in the area decide,
    and turn and scale it too: the similarity that fits them best (least squares). Handles that would leave the picture
    are left out.

    Parameters
    ----------
    area
        (H, W), True for what is to move as a whole.

    Raises
    ------
    BadInput
        When the area is empty, of another size, or no handle lies in it.
    """
    if area.shape != (task.size[1], task.size[0]):
        raise BadInput(
            f"The region has {area.shape[1]}×{area.shape[0]} px but the picture {task.size[0]}×{task.size[1]} px: "
            "make them the same size."
        )
    x, y = np.rint(task.handles).astype(int).T
    inside = area[y, x]
    if not inside.any():
        raise BadInput("No handle lies in the region: put one there, which says where the region is to go.")
    q = _tiles(area, most, task.handles[inside])
    p, g = task.handles[inside], task.targets[inside]
    goes_to = similarity(p, g)
    ways = [goes_to(q)]
    if inside.sum() == 1 and task.via:
        stops = task.via[int(np.flatnonzero(inside)[0])]
        ways = [q + (stop - p[0]) for stop in stops] + ways
    stays = np.all([((w >= 0) & (w <= np.array(task.size) - 1)).all(1) for w in ways], axis=0)
    own = list(task.via) or [np.zeros((0, 2))] * len(task.handles)
    between = list(np.stack(ways[:-1], 1)[stays]) if len(ways) > 1 else [np.zeros((0, 2))] * int(stays.sum())
    return task.with_points(
        np.vstack([task.handles, q[stays]]), np.vstack([task.targets, ways[-1][stays]]), [*own, *between]
    )


def _tiles(area: NDArray[np.bool_], most: int, handles: NDArray[Any]) -> NDArray[np.float64]:
    """Points (m, 2) of a square grid over an area, without those that stand where a handle is."""
    ys, xs = np.nonzero(area)
    spacing = max(2, int(np.ceil((len(xs) / most) ** 0.5)))
    on_grid = ((xs - xs.min()) % spacing == spacing // 2) & ((ys - ys.min()) % spacing == spacing // 2)
    q = np.stack([xs, ys], 1)[on_grid].astype(float)
    apart = np.linalg.norm(q[:, None] - handles[None], axis=2).min(1) >= spacing / 2
    return q[apart]


def similarity(p: NDArray[Any], g: NDArray[Any]) -> Any:
    """The turn, scaling and shift that carries the points p (n, 2) to g best: a function of points (m, 2).

    As complex numbers, w = a (z − z̄) + w̄ with a = Σ (z − z̄)* (w − w̄) / Σ |z − z̄|²; of a single point, a shift.
    """
    z, w = (points[:, 0] + 1j * points[:, 1] for points in (p, g))
    centred = z - z.mean()
    size = float((abs(centred) ** 2).sum())
    a = (centred.conj() @ (w - w.mean())) / size if size > 1e-9 else 1.0

    def goes_to(points: NDArray[Any]) -> NDArray[np.float64]:
        moved = a * (points[:, 0] + 1j * points[:, 1] - z.mean()) + w.mean()
        return np.stack([moved.real, moved.imag], 1)

    return goes_to
