"""FreeDrag: *Feature Dragging for Reliable Point-based Image Editing* (CVPR 2024).

Source: arXiv 2307.04684 and the settings of its published diffusion version. No handle is tracked. Each has a
*template* T, at first the patch around it in the source, and an *aim* p on the way to its target; a drag pulls the
features at p towards T for up to J gradient steps. Then

- the template adapts, T ← λ F(p) + (1 − λ) T: λ is large where the features have come (small loss L), small where not;
- the aim moves on along the line to the target, to where the features differ from T by about the expected loss l, so
  each drag begins equally hard. If a drag didn't bring them near enough the aim stays, if it made matters worse it goes
  back.

Simplified: patches are cut at the border of the map; without half precision and its gradient scaler.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from gooddrag.backbone import Backbone
from gooddrag.diffusion import SourcePath
from gooddrag.features import Frame, inside, sample_cells, sample_patch
from gooddrag.loop import GradientEdit
from gooddrag.lora import Weights
from gooddrag.methods import FreeDrag
from gooddrag.steps import Dragged, Step, Supervised
from gooddrag.supervision import Points, patch_losses, patch_mean
from gooddrag.task import DragTask

CANDIDATES = 10  # places on the line that the search looks at
SETTLED = 0.5  # of the expected loss: below it the features count as having come


class FreeEdit(GradientEdit[FreeDrag]):
    """An edit with a template and an aim for each handle. `points.p` are the aims, real-valued cells."""

    def __init__(
        self, backbone: Backbone, task: DragTask, method: FreeDrag, frame: Frame, path: SourcePath, adapter: Weights
    ):
        super().__init__(backbone, task, method, frame, path, adapter)
        self.templates = torch.empty(0)  # (n, 2 r1 + 1, 2 r1 + 1, C)
        self.now = self.first = self.last = torch.zeros(len(self.points.p)).to(self.z)  # losses of the handles (n,)
        self.arrived = torch.zeros(len(self.points.p), dtype=torch.bool, device=self.z.device)

    def _drag(self, i: int) -> Iterator[Step]:
        """Move the aims, then up to J gradient steps, then let the templates adapt."""
        method = self.method
        if self.arrived.all() or self.idle == method.patience:
            self._end_dragging()
            return
        if i != self.dragged_at:
            self._enter(i)
        if not self.pulled:
            self._search(i)
        while self.pulled < method.supervision_steps and not (self.pulled and self._settled(self.now).all()):
            self._supervise(i)
            self.first = self.now if self.pulled == 1 else self.first
            yield Supervised(self.drags_done + 1, self.pulled, method.supervision_steps)
        self._adapt(i)
        self._count_drag()
        yield self._measure(Dragged, i, losses=self.losses, of=method.drags)

    def _enter(self, i: int) -> None:
        super()._enter(i)
        self.templates = sample_patch(self.path.features(i), self.points.p0, self.method.r1, self.frame.grid)

    def _settled(self, loss: Tensor) -> Tensor:
        return loss < SETTLED * self.method.expected_loss

    @torch.no_grad()
    def _search(self, i: int) -> None:
        F = self._features(i)
        how = self.method
        aims = next_aims(
            F, self.points, self.templates, self.first, self.last, how.r1, d_max=how.beta, expected=how.expected_loss
        )
        p = torch.where(self.arrived[:, None], self.points.p, aims)
        self.idle = self.idle + 1 if torch.equal(p, self.points.p) else 0
        self.points = replace(self.points, p=p)

    def _drag_loss(self, F: Tensor, i: int) -> Tensor:
        loss = template_losses(F, self.points, self.templates, self.method.r1)
        self.now = loss.detach()
        return loss.sum()

    def _keep_loss(self, i: int) -> Tensor:
        return super()._keep_loss(i) / self.z.numel()

    @torch.no_grad()
    def _adapt(self, i: int) -> None:
        """See what the gradient steps have led to: who has arrived, and what the templates take over from it."""
        F = self._features(i)
        here = sample_patch(F, self.points.p, self.method.r1, self.frame.grid)
        self.last = template_losses(F, self.points, self.templates, self.method.r1)
        self.arrived = ~self.points.under_way & self._settled(self.last)
        share = torch.where(self.arrived, 1.0, adaptation(self.last, self.method.expected_loss))[:, None, None, None]
        self.templates = share * here + (1 - share) * self.templates
        f0 = sample_cells(self.path.features(i), self.points.p0, self.frame.grid)
        self.drift = (sample_cells(F, self.points.p, self.frame.grid) - f0).abs().mean(-1)


def template_losses(F: Tensor, points: Points, templates: Tensor, r1: int) -> Tensor:
    """L = mean over patch and channels of | F_Ω(p, r1) − T | for each handle (n,)."""
    return patch_losses(F, points.p, templates, points.p, r1, points.grid, patch_mean)


def adaptation(loss: Tensor, expected: float) -> Tensor:
    """λ = 1 / (1 + exp(a (L − b))): 0.5 at L = 0.2 l and 0.1 at L = 0.8 l, so a = ln 9 / (0.6 l), b = 0.2 l."""
    return torch.sigmoid(-math.log(9) / (0.6 * expected) * (loss - 0.2 * expected))


def next_aims(
    F: Tensor, points: Points, templates: Tensor, first: Tensor, last: Tensor, r1: int, d_max: float, expected: float
) -> Tensor:
    """Line search with backtracking: where each handle's features shall be pulled to next (n, 2).

    Parameters
    ----------
    first, last
        Losses at the first gradient step of the last drag and after its last one (n,); zeros before the first drag.
    d_max
        The longest step in cells.
    expected
        The loss l that a drag shall begin with.

    Returns
    -------
    Tensor
        Where features have come (last < l/2): of the places up to d_max ahead the one that differs from T by nearest to
        l. Where they are coming (last < first): p. Else: starting d_max behind, of those up to 2 d_max ahead the one
        that is most like T.
    """
    step = points.g - points.p
    step = step * (d_max / points.distance.clamp(min=1e-8)).clamp(max=1)[:, None]
    ahead = _best(F, points, points.p, step, templates, r1, expected)
    behind = points.p - step
    rest = points.g - behind
    twice = rest * (2 * d_max / torch.linalg.vector_norm(rest, dim=1).clamp(min=1e-8)).clamp(max=1)[:, None]
    back = _best(F, points, behind, twice, templates, r1, 0.0)
    come, coming = (last < SETTLED * expected)[:, None], (last < first)[:, None]
    return torch.where(come, ahead, torch.where(coming, points.p, back))


def _best(F: Tensor, points: Points, start: Tensor, step: Tensor, templates: Tensor, r1: int, wanted: float) -> Tensor:
    """Of the places at 1/10, 2/10, … of a step the one whose difference from the template is nearest to `wanted`."""
    shares = torch.arange(1, CANDIDATES + 1).to(start) / CANDIDATES
    places = start[:, None] + shares[None, :, None] * step[:, None]  # (n, 10, 2)
    flat = places.flatten(0, 1)
    losses = patch_losses(F, flat, templates.repeat_interleave(CANDIDATES, 0), flat, r1, points.grid, patch_mean)
    losses = losses.masked_fill(~inside(flat, points.grid), torch.inf)
    best = (losses.reshape(len(start), -1) - wanted).abs().argmin(1)
    return places[torch.arange(len(start)), best]
