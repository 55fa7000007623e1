"""What becomes of arrows and their paths when something else changes: other arrows, another picture, a circled region.

Points and paths are lists as the canvas's traits hold them; nothing here knows the canvas.
"""

from __future__ import annotations

from gooddrag.region import drag_region, polygon_area
from gooddrag.task import DragTask

Point = list[float]


def kept_paths(via: list[list[Point]], before: list[Point], after: list[Point]) -> list[list[Point]]:
    """The paths of the arrows `after`, of those that belong to the arrows `before`.

    An arrow keeps its path wherever in the list it comes to stand, and when one of its ends is moved; an arrow with two
    new ends is straight.
    """
    old, new = pairs_of(before), pairs_of(after)
    if len(via) != len(old):
        return via if len(via) == len(new) else []
    origins = [_origin(k, pair, old) for k, pair in enumerate(new)]
    return [[] if k is None else via[k] for k in origins]


def _origin(k: int, pair: list[Point], old: list[list[Point]]) -> int | None:
    """Where among the old pairs the one stood that is now number k."""
    here = old[k : k + 1]
    if pair in here or pair not in old:
        return k if here and any(p == q for p, q in zip(pair, here[0], strict=True)) else None
    return old.index(pair)


def paths_inside(via: list[list[Point]], size: tuple[int, int]) -> list[list[Point]]:
    """The paths that lie in a picture of `size` (width, height); empty instead of the others."""
    return [path if all(is_inside(p, size) for p in path) else [] for path in via]


def is_inside(p: Point, size: tuple[int, int]) -> bool:
    """Whether a point lies in a picture of `size` (width, height)."""
    return all(0 <= v <= side - 1 for v, side in zip(p, size, strict=True))


def pairs_of(points: list[Point]) -> list[list[Point]]:
    """Handle, target, handle, target, … → [handle, target] each."""
    return [points[k : k + 2] for k in range(0, len(points), 2)]


def with_region(task: DragTask, corners: list[Point]) -> tuple[DragTask, str]:
    """The task with what lies in an outline moving as a whole, and a sentence on that.

    Raises
    ------
    BadInput
        As `drag_region`, and where the outline has fewer than three corners.
    """
    wider = drag_region(task, polygon_area([(x, y) for x, y in corners], task.size))
    more = len(wider.handles) - len(task.handles)
    if not more:
        return task, "The region takes no more handles: it is too small, or they would leave the picture."
    return wider, f"The region moves as a whole now, by {more} more handle(s)."
