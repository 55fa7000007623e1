"""FastDrag: *Manipulate Anything in One Step* (NeurIPS 2024): the latent is warped once, and then only denoised.

Source: arXiv 2405.15769 and its published code. The part of the inverted latent that the mask covers behaves like a
stretched cloth which is fixed at a circle around the mask: each cell moves by its share of the drags. Cells that
nothing has moved to are filled from the nearest ones to the left, right, above and below. Then the latent is denoised
with keys and values from the source.

Simplified: cells don't leave the mask (the published code lets them); filled cells don't fill others. Keys and values
are lent by the late layers only, as everywhere in this package. The paper takes 10 steps with a distilled U-Net; here
50 steps are the default, as ordinary weights need them (`steps=10` gives the paper's number).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from gooddrag.features import CELLS_PER_LATENT, sample_cells
from gooddrag.loop import Edit
from gooddrag.methods import FastDrag
from gooddrag.steps import Dragged, Step


class WarpEdit(Edit[FastDrag]):
    """An edit with a single drag, which warps the latent. Handles are taken to be where the warp puts them."""

    @torch.no_grad()
    def _drag(self, i: int) -> Iterator[Step]:
        everything = torch.ones_like(self.z[0, 0], dtype=torch.bool)
        area = everything if self.M is None else self.M[0, 0] > 0
        A, B = (latent_coordinates(cells) for cells in (self.points.p0, self.points.g))
        self.z, self.dragged_at = warped(self.z, area, A, B), i
        self.points = replace(self.points, p=self.points.g)
        f0 = sample_cells(self.path.features(i), self.points.p0, self.frame.grid)
        self.drift = (sample_cells(self._features(i), self.points.p, self.frame.grid) - f0).abs().mean(-1)
        self._count_drag()
        yield self._measure(Dragged, i, of=1)


def latent_coordinates(cells: Tensor) -> Tensor:
    """Feature cells (n, 2) → coordinates on the latent's grid, centres at integers."""
    return (cells + 0.5) / CELLS_PER_LATENT - 0.5


def warped(z: Tensor, area: Tensor, A: Tensor, B: Tensor) -> Tensor:
    """Move the cells of z (1, C, h, w) inside `area` (h, w) bool along with the drags A → B, each (n, 2) as (x, y)."""
    ys, xs = area.nonzero(as_tuple=True)
    cells = torch.stack([xs, ys], 1)  # (N, 2), in reading order
    moved = (cells + displacement(cells.to(A), A, B)).round().long()
    came_from: dict[tuple[int, int], tuple[int, int]] = {}
    for new, old in zip(moved.tolist(), cells.tolist(), strict=True):
        came_from.setdefault(tuple(new), tuple(old))  # of several the first one stays
    taken = {(x, y) for x, y in cells.tolist()} & came_from.keys()
    holes, out = area.clone(), z.clone()
    if taken:
        new, old = (torch.tensor(list(side), device=z.device).T for side in (taken, [came_from[t] for t in taken]))
        out[:, :, new[1], new[0]] = z[:, :, old[1], old[0]]
        holes[new[1], new[0]] = False
    return filled(out, holes)


def displacement(cells: Tensor, A: Tensor, B: Tensor) -> Tensor:
    """How far each cell (N, 2) is carried by the drags A → B, each (n, 2): the paper's latent warpage function, (N, 2).

    Around the cells lies a circle with centre O and radius R. Drag i carries a cell C by the share |PC| / |PA| of its
    length, where P is the point in which the ray from A through C meets the circle: all of it at the handle, none at
    the circle. Several drags are averaged with weights 1 / |AC|.
    """
    low, high = cells.min(0).values, cells.max(0).values
    O, R = (low + high) / 2, torch.linalg.vector_norm(high - low) / 2  # noqa: E741
    AC = cells[:, None] - A  # (N, n, 2)
    far = torch.linalg.vector_norm(AC, dim=2).clamp(min=1e-6)
    along = ((A - O) * AC).sum(2) / far  # from the point of the ray that is nearest to O to A
    inner = (R**2 - (A - O).square().sum(1)).clamp(min=0)
    AP = (inner + along.square()).sqrt() - along
    share = ((AP - far) / AP.clamp(min=1e-6)).clamp(0, 1)
    weight = 1 / (far + 1e-4)
    weight = weight / weight.sum(1, keepdim=True)
    return ((weight * share)[:, :, None] * (B - A)).sum(1)


def filled(z: Tensor, holes: Tensor) -> Tensor:
    """Fill the `holes` (h, w) bool of z (1, C, h, w) from the nearest other cells in the four directions.

    Weights are 1 / distance (bilateral nearest neighbour interpolation). A hole that sees no cell keeps what it had.
    """
    total, weights = torch.zeros_like(z), torch.zeros_like(holes, dtype=z.dtype)
    for axis in (0, 1):
        for backwards in (False, True):
            near, distance = _nearest(~holes, axis, backwards)
            weight = torch.where(distance > 0, 1 / distance.clamp(min=1), 0.0).to(z.dtype)
            total += weight * z.gather(2 + axis, near.expand_as(z))
            weights += weight
    return torch.where(holes & (weights > 0), total / weights.clamp(min=1e-12), z)


def _nearest(valid: Tensor, axis: int, backwards: bool) -> tuple[Tensor, Tensor]:
    """Index along an axis of the last valid cell before each (h, w), and how far back it is (0: none, or itself)."""
    size = valid.shape[axis]
    index = torch.arange(size, device=valid.device).reshape((-1, 1) if axis == 0 else (1, -1)).expand_as(valid)
    if backwards:
        valid = valid.flip(axis)
    last = torch.where(valid, index, -1).cummax(axis).values
    distance = torch.where(last >= 0, index - last, 0)
    last = last.clamp(min=0)
    if backwards:
        last, distance = (size - 1 - last).flip(axis), distance.flip(axis)
    return last, distance
