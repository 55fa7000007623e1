"""Exercises of 03 · Features and tracking."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from lessons.exercise import Exercise, Function


def _noise(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def _places() -> list[tuple[Any, ...]]:
    cells = torch.tensor([[0.0, 0.0], [3.0, 10.0], [31.0, 17.0]])
    return [
        (cells, torch.tensor([64.0, 64.0]), torch.tensor([16.0, 16.0])),
        (cells, torch.tensor([64.0, 48.0]), torch.tensor([8.0, 6.0])),
    ]


TO_MAP = Exercise(
    right=lambda cells, grid, size: (cells + 0.5) * size / grid - 0.5,
    inputs=_places,
    hints=(
        "a cell is an area, and its number names its middle: measured from the picture's edge it lies at cell + 0.5.",
        "try cell 0 of 64 on a map of 16: its middle is 0.5 / 64 of the way, that is at 0.125 − 0.5 = −0.375.",
    ),
    praise="Edges lie on edges, whatever the resolution; only the middles of the cells differ.",
    uses={"torch": torch},
    mistakes={
        "The half cells are missing: cell 0 begins at the edge; its *middle* is half a cell inside, on both grids.": (
            lambda cells, grid, size: cells * size / grid
        ),
        "You add the half, but don't take it away again: the coarse map counts from the middle of its cells, too.": (
            lambda cells, grid, size: (cells + 0.5) * size / grid
        ),
        "You lay corner middles on corner middles; here the *edges* of both grids coincide (align_corners=False).": (
            lambda cells, grid, size: cells * (size - 1) / (grid - 1)
        ),
        "The ratio is upside down: the coarse map has fewer cells, so the numbers get smaller.": (
            lambda cells, grid, size: (cells + 0.5) * grid / size - 0.5
        ),
    },
)


def _reads() -> list[tuple[Any, ...]]:
    return [(_noise(k, 2, 5, 6), x, y) for k, (x, y) in enumerate([(1.3, 2.6), (2.75, 0.25), (0.5, 3.2)])]


def _blend(F: Tensor, x: float, y: float, weight: Function = lambda f: f, swapped: bool = False) -> Tensor:
    if swapped:
        F = F.transpose(1, 2)
    left, top = math.floor(x), math.floor(y)
    fx, fy = weight(x - left), weight(y - top)
    upper = (1 - fx) * F[:, top, left] + fx * F[:, top, left + 1]
    lower = (1 - fx) * F[:, top + 1, left] + fx * F[:, top + 1, left + 1]
    return (1 - fy) * upper + fy * lower


BILINEAR = Exercise(
    right=_blend,
    inputs=_reads,
    hints=(
        "mix the two upper neighbours by fx, the two lower ones by fx, and the two results by fy.",
        "with fx = 0 only the left neighbours count, with fx = 1 only the right ones; and it is F[:, row, column].",
    ),
    praise="Between four cells the map is as smooth as two straight lines can make it.",
    uses={"math": math, "torch": torch},
    mistakes={
        "x and y are swapped: a map is F[channel, row, column], and y counts rows.": (
            lambda F, x, y: _blend(F, x, y, swapped=True)
        ),
        "The weights are swapped: the nearer a neighbour is, the *more* it counts.": (
            lambda F, x, y: _blend(F, x, y, weight=lambda f: 1 - f)
        ),
        "That is the nearest cell. Between the cells nothing would change, and a gradient would have no direction.": (
            lambda F, x, y: F[:, round(y), round(x)]
        ),
        "That is the upper left neighbour alone.": lambda F, x, y: F[:, math.floor(y), math.floor(x)],
    },
)


def _patches() -> list[tuple[Any, ...]]:
    def read(x: float, y: float) -> Tensor:
        return torch.stack([torch.as_tensor(10.0 * x + y), torch.as_tensor(x * y * 1.0)])

    return [(read, 3, 8, 1), (read, 5.5, 2.0, 2)]


def _square(read: Function, x: float, y: float, ys: Any, xs: Any) -> Tensor:
    return torch.stack([torch.stack([read(x + i, y + j) for i in xs]) for j in ys])


PATCH = Exercise(
    right=lambda read, x, y, r: _square(read, x, y, range(-r, r + 1), range(-r, r + 1)),
    inputs=_patches,
    hints=(
        "a patch of radius r has 2r + 1 rows; the outer loop walks through the rows (y), the inner along a row (x).",
        "range(-r, r + 1) gives −r … r; the first row is the one at y − r.",
    ),
    praise="Rows first, then columns, then channels: (2r+1, 2r+1, C).",
    uses={"torch": torch},
    mistakes={
        "Off by one: range(-r, r) stops at r − 1, so the patch has no middle.": (
            lambda read, x, y, r: _square(read, x, y, range(-r, r), range(-r, r))
        ),
        "The patch is lying on its side: rows belong to y, columns to x.": (
            lambda read, x, y, r: _square(read, x, y, range(-r, r + 1), range(-r, r + 1)).transpose(0, 1)
        ),
        "i goes with x and j with y: read takes (x, y), so it is read(x + i, y + j).": (
            lambda read, x, y, r: _square(lambda a, b: read(b, a), x, y, range(-r, r + 1), range(-r, r + 1))
        ),
        "The patch is upside down: y grows downwards, so the first row is the one at y − r.": (
            lambda read, x, y, r: _square(read, x, y, range(r, -r - 1, -1), range(-r, r + 1))
        ),
        "The patch begins at the handle; the handle belongs in its middle.": (
            lambda read, x, y, r: _square(read, x, y, range(2 * r + 1), range(2 * r + 1))
        ),
    },
)


def _searches() -> list[tuple[Any, ...]]:
    cases = []
    for seed in range(5):
        F, f0, x, y, r2 = _noise(seed, 3, 11, 12), _noise(seed + 50, 3), 5, 4, 2
        if seed == 0:
            F[:, y + r2, x + r2] = f0 + 0.01  # in the far corner of the square
        cases.append((_reader(F), f0, x, y, r2))
    return cases


def _reader(F: Tensor) -> Function:
    return lambda x, y: F[:, int(y), int(x)]


def _search(
    read: Function,
    f0: Tensor,
    x: int,
    y: int,
    r2: int,
    distance: Function = lambda f, f0: (f - f0).abs().sum(),
    edge: int = 1,
) -> tuple[int, int]:
    places = [(x + i, y + j) for j in range(-r2, r2 + edge) for i in range(-r2, r2 + edge)]
    return min(places, key=lambda place: float(distance(read(*place), f0)))


TRACK = Exercise(
    right=_search,
    inputs=_searches,
    hints=(
        "the distance is the sum of |read(i, j) − f0| over the channels; keep the place where it is least.",
        "search from −r2 to r2, both included, and return the place itself as (x, y), not its offset.",
    ),
    praise="That is equation 6: the handle is where the picture looks most like the handle did at first.",
    uses={"math": math, "torch": torch},
    mistakes={
        "You keep the place that is *least* alike: of distances the smallest is the best.": (
            lambda *a: _search(*a, distance=lambda f, f0: -(f - f0).abs().sum())
        ),
        "Differences of both signs cancel: take their absolute values before you sum.": (
            lambda *a: _search(*a, distance=lambda f, f0: (f - f0).sum())
        ),
        "The absolute value comes too late, after the sum: differences of both signs have cancelled by then.": (
            lambda *a: _search(*a, distance=lambda f, f0: (f - f0).sum().abs())
        ),
        "You square the differences; the paper sums absolute values (L1), which a single odd channel moves less.": (
            lambda *a: _search(*a, distance=lambda f, f0: ((f - f0) ** 2).sum())
        ),
        "Off by one: the square ends at r2, and range leaves its last number out.": lambda *a: _search(*a, edge=0),
        "That is the offset from the old place; the new place is wanted.": (
            lambda read, f0, x, y, r2: tuple(a - b for a, b in zip(_search(read, f0, x, y, r2), (x, y), strict=True))
        ),
        "x and y are swapped in your answer: points are (x, y).": lambda *a: _search(*a)[::-1],
    },
)

EXERCISES = {"to_map": TO_MAP, "bilinear": BILINEAR, "patch_around": PATCH, "nearest_feature": TRACK}
