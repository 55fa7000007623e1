"""Motion supervision: the losses whose gradient moves the latent. One equation, one function.

Shapes: feature maps F, F_src (1, C, h, w); points p0, p, g (n, 2) in feature cells; M (1, 1, h, w), 1 = may change.
Every loss is a scalar tensor. `Supervision` names what a loss may look at; standard and IPMS differ only in where
their reference patch comes from.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from gooddrag.features import inside, sample_patch, window


@dataclass(frozen=True, eq=False)
class Points:
    """Original handles p0, current handles p and targets g, each (n, 2) in cells of a `grid` (width, height)."""

    p0: Tensor
    p: Tensor
    g: Tensor
    grid: tuple[int, int]
    reach: float = 2.0  # a handle nearer than this to its target has arrived, and is left alone

    @property
    def distance(self) -> Tensor:
        """|g − p| per handle (n,)."""
        return torch.linalg.vector_norm(self.g - self.p, dim=1)

    @property
    def under_way(self) -> Tensor:
        """Which handles have not arrived (n,) bool."""
        return self.distance >= self.reach


Norm = Callable[[Tensor, Tensor], Tensor]
Supervision = Callable[[Tensor, Tensor, Points, int, float, Norm], Tensor]


def step_vector(points: Points, beta: float) -> Tensor:
    """d = β (g − p)/|g − p|, but never beyond the target (n, 2), in cells.

    The paper has no such limit; without it a handle overshoots and swings around its target.
    """
    distance = points.distance[:, None].clamp(min=1e-6)
    return (points.g - points.p) / distance * distance.clamp(max=beta)


def ipms_loss(F: Tensor, F_src: Tensor, points: Points, r1: int, beta: float, norm: Norm) -> Tensor:
    """Information-preserving motion supervision (paper, section 3.4).

    Σᵢ ‖ F_Ω(pᵢ + dᵢ, r1) − sg F⁰_Ω(pᵢ⁰, r1) ‖₁: the patch one step ahead shall look like the *original* handle in the
    *unedited* picture at the same timestep, so nothing that was lost on the way becomes the new reference.
    """
    reference = sample_patch(F_src, points.p0, r1, points.grid)
    return _patch_loss(F, reference, points.p0, points, r1, beta, norm)


def standard_loss(F: Tensor, F_src: Tensor, points: Points, r1: int, beta: float, norm: Norm) -> Tensor:
    """Standard motion supervision, as in DragGAN and DragDiffusion (the paper's baseline equation).

    Σᵢ ‖ F_Ω(pᵢ + dᵢ, r1) − sg F_Ω(pᵢ, r1) ‖₁: the patch one step ahead shall look like the *current* one, so each drag
    hands its small losses on to the next. The source's features are not used.
    """
    reference = sample_patch(F.detach(), points.p, r1, points.grid)
    return _patch_loss(F, reference, points.p, points, r1, beta, norm)


def _patch_loss(
    F: Tensor, reference: Tensor, reference_at: Tensor, points: Points, r1: int, beta: float, norm: Norm
) -> Tensor:
    ahead = points.p + step_vector(points, beta)
    losses = patch_losses(F, ahead, reference.detach(), reference_at, r1, points.grid, norm)
    return (losses * points.under_way).sum()


def patch_losses(
    F: Tensor, at: Tensor, reference: Tensor, reference_at: Tensor, r1: int, grid: tuple[int, int], norm: Norm
) -> Tensor:
    """‖ F_Ω(at, r1) − reference ‖ for each centre `at` (n, 2): (n,), without what lies off either map.

    `reference` (n or 1, 2r+1, 2r+1, C) are the patches to compare with, cut out around `reference_at` (n or 1, 2).
    """
    difference = (sample_patch(F, at, r1, grid) - reference).abs()  # (n, 2r+1, 2r+1, C)
    offsets = window(r1, F.device)
    on_map = inside(at[:, None, None] + offsets, grid) & inside(reference_at[:, None, None] + offsets, grid)
    return norm(difference, on_map)


def patch_sum(difference: Tensor, on_map: Tensor) -> Tensor:
    """Sum over the patch of the mean over channels, without what lies off the map: (n, s, s, C), (n, s, s) → (n,).

    The paper writes a plain L1 sum; dividing by the number of channels keeps λ and the learning rate comparable
    between backbones (DragDiffusion's code does the same).
    """
    return (difference.mean(-1) * on_map).sum((1, 2))


def patch_mean(difference: Tensor, on_map: Tensor) -> Tensor:
    """Mean over channels and over that part of the patch which lies on the map: (n, s, s, C), (n, s, s) → (n,)."""
    return patch_sum(difference, on_map) / on_map.sum((1, 2)).clamp(min=1)


def patch_area_times_mean(difference: Tensor, on_map: Tensor) -> Tensor:
    """DragDiffusion's code: (2·r1+1)² times `patch_mean`. At the border what is left of a patch weighs as a whole."""
    return difference.shape[1] ** 2 * patch_mean(difference, on_map)


def patch_official(difference: Tensor, on_map: Tensor) -> Tensor:
    """The official code's weight, (2·r1)² times the mean over patch and channels (quirk Q1)."""
    return (difference.shape[1] - 1) ** 2 * difference.mean((1, 2, 3))


def mask_loss(z_next: Tensor, z_next_src: Tensor, M: Tensor) -> Tensor:
    """‖ (f(z) − sg f(z⁰)) ⊙ (1 − M) ‖₁: what lies outside the mask shall stay (last term of the paper's loss).

    `z_next` and `z_next_src` (1, C, h, w) are both already one DDIM step on; M (1, 1, h, w).
    """
    return ((z_next - z_next_src.detach()) * (1 - M)).abs().sum()
