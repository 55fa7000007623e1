"""SDE-Drag: *The Blessing of Randomness: SDE Beats ODE in General Diffusion-based Image Editing* (ICLR 2024).

Source: arXiv 2311.01410 and the published code. A drag is cut into rounds of a few latent cells. Each round adds noise
to the picture's latent, keeping every state on the way; pastes the patch at the handle a little nearer to the target,
and puts noise in its place; and then denoises. That is done with *Cycle-SDE*: at each step the noise is used that
would have led the unedited states exactly back along their way. So what wasn't touched comes back up to rounding, and
only the paste has to be made good for.

Simplified: no classifier-free guidance, as an engine here knows one prompt (with the empty one, guidance does nothing);
the latent is the mean of the autoencoder's posterior, not a sample; adapter weights reach both ends of their range
exactly; each step is between neighbours of the time grid, where the published code once is off by one timestep.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise

import torch
from PIL import Image
from torch import Tensor

from gooddrag.adapter import Weights, folded
from gooddrag.backbone import Backbone
from gooddrag.diffusion import SourcePath, renewing_step
from gooddrag.features import CELLS_PER_LATENT, Frame, sample_cells
from gooddrag.loop import Edit
from gooddrag.methods import SdeDrag
from gooddrag.schedule import Denoise, Drag, Schedule
from gooddrag.steps import Dragged, Step
from gooddrag.task import DragTask


def time_grid(steps: int, strength: float) -> tuple[int, ...]:
    """τ_k = round(999 k / n) for k = 1 … ⌊t₀ n⌋ + 1, least noise first. The clean latent counts as the state at τ₁."""
    return tuple(round(999 * k / steps) for k in range(1, int(strength * steps) + 2))


def rounds_for(distance: float, stride: float) -> int:
    """Into how many rounds a drag is cut, so that each goes about `stride`; both in latent cells."""
    if distance <= stride:
        return 1
    fewer = int(distance / stride)
    return min((fewer, fewer + 1), key=lambda m: abs(distance / m - stride))


def noised(x: Tensor, levels: list[float], chance: torch.Generator) -> list[Tensor]:
    """Add noise step by step: the states (1, C, h, w) at the noise levels ᾱ₀ > ᾱ₁ > …, of which x is the first.

    x_{k+1} = √(ᾱ_{k+1}/ᾱ_k) x_k + √(1 − ᾱ_{k+1}/ᾱ_k) ε
    """
    states = [x]
    for level, next_level in pairwise(levels):
        kept = next_level / level
        states.append(kept**0.5 * states[-1] + (1 - kept) ** 0.5 * randn_like(x, chance))
    return states


def randn_like(x: Tensor, chance: torch.Generator) -> Tensor:
    """Normal noise of x's shape, the same on every device."""
    return torch.randn(x.shape, generator=chance, dtype=torch.float64).to(x)


def cycle_step(y: Tensor, eps: Tensor, o: Tensor, eps_o: Tensor, o_next: Tensor, level: float, next_level: float):
    """One step of Cycle-SDE for y (1, C, h, w), beside the original o that is to go to o_next.

    y_s = μ(y) + σ w̄ with w̄ = (o_s − μ(o)) / σ, where μ(v) = √ᾱ_s x̂₀(v) + √(1 − ᾱ_s − σ²) ε(v); so σ cancels.
    """

    def mean(v: Tensor, e: Tensor) -> Tensor:
        return renewing_step(v, e, torch.zeros_like(v), level, next_level, eta=1.0)

    return mean(y, eps) + (o_next - mean(o, eps_o))


def copied(
    x: Tensor, s: Tensor, g: Tensor, radius: int, residue: float, gain: float, chance: torch.Generator
) -> Tensor:
    """Paste patches of x (1, C, h, w) from the cells s to the cells g, each (n, 2) integer (x, y), pair by pair.

    x[s] ← β P + √(1 − β²) ε, then x[g] ← α P, with P what was at s. Windows [c − r, c + r) are cut, alike at both ends,
    where one would leave the map.
    """
    x = x.clone()
    limit = torch.tensor([x.shape[3] - 1, x.shape[2] - 1])
    for here, there in zip(s.cpu(), g.cpu(), strict=True):
        before = torch.minimum(here, there).clamp(max=radius)
        after = torch.minimum(limit - here, limit - there).clamp(max=radius)
        (x0, y0), (x1, y1), (gx0, gy0), (gx1, gy1) = (
            v.tolist() for v in (here - before, here + after, there - before, there + after)
        )
        P = x[:, :, y0:y1, x0:x1].clone()
        x[:, :, y0:y1, x0:x1] = residue * P + (1 - residue**2) ** 0.5 * randn_like(P, chance)
        x[:, :, gy0:gy1, gx0:gx1] = gain * P
    return x


@dataclass(frozen=True)
class Place:
    """Where in the work a timestep index lies: in which round, and how many steps of it are still to be denoised."""

    round: int
    left: int  # 0: the clean end


class SdeEdit(Edit[SdeDrag]):
    """An edit in rounds. Timestep indices run on through all rounds; each ends with an index for its clean latent."""

    def __init__(
        self, backbone: Backbone, task: DragTask, method: SdeDrag, frame: Frame, path: SourcePath, adapter: Weights
    ):
        super().__init__(backbone, task, method, frame, path, adapter)
        self.z0 = path.latents[0]
        self.grid = time_grid(method.steps, method.strength)
        self.levels = [backbone.alpha_bar(t) for t in self.grid]
        self.chance = torch.Generator().manual_seed(method.seed)
        self.s0, g0 = (cells.long() // CELLS_PER_LATENT for cells in (self.points.p0, self.points.g))
        self.way = (g0 - self.s0).to(self.z)  # of each handle, in latent cells (n, 2)
        self.rounds = rounds_for(float(torch.linalg.vector_norm(self.way, dim=1).max()), method.stride)
        self.timesteps = self.grid[::-1] * self.rounds
        self.area = None if self.M is None else (self.M > 0.5).to(self.z)
        self.states: list[list[Tensor]] = []  # of each round: its unedited latent at every level, the clean one first
        self._begin_round(self.z0)

    def run(self, schedule: Schedule) -> Iterator[Step]:
        return super().run(self._schedule())

    def _schedule(self) -> Schedule:
        n = len(self.grid)
        rounds = ([Drag(r + 1, r * n), *(Denoise(r * n + k) for k in range(n - 1))] for r in range(self.rounds))
        return tuple(step for steps in rounds for step in steps)

    def _place(self, level: int) -> Place:
        n = len(self.grid)
        return Place(level // n, n - 1 - level % n)

    def _begin_round(self, x: Tensor) -> None:
        """Add noise to the clean latent x, keeping every state."""
        self.states.append(noised(x, self.levels, self.chance))
        self.z = self.states[-1][-1]

    @torch.no_grad()
    def _drag(self, i: int) -> Iterator[Step]:
        """Paste each handle's patch one stage nearer to its target."""
        method, r = self.method, self._place(i).round
        if r == len(self.states):
            self._begin_round(self.z)
        s, g = (self.s0 + (k / self.rounds * self.way).trunc().long() for k in (r, r + 1))
        self.z = copied(self.z, s, g, method.radius, method.residue, method.gain, self.chance)
        p = self.points.p0 + (r + 1) / self.rounds * (self.points.g - self.points.p0)
        self.points = replace(self.points, p=p)
        self._compare_features(i)
        self._count_drag()
        yield self._measure(Dragged, i, of=self.rounds)

    def _compare_features(self, i: int) -> None:
        """The drift: of the pasted patches from the handles in the source at the same noise level."""
        features = self.backbone.predict(
            torch.cat([self.z, self._source(i)]), self.timesteps[i], features=True
        ).features
        assert features is not None
        there = sample_cells(features[:1], self.points.p, self.frame.grid)
        self.drift = (there - sample_cells(features[1:], self.points.p0, self.frame.grid)).abs().mean(-1)

    @torch.no_grad()
    def _denoised(self, z: Tensor, i: int, plain: bool, eps: Tensor | None = None) -> Tensor:
        """One step of Cycle-SDE; outside the mask the unedited states stay."""
        place = self._place(i)
        states, k = self.states[place.round], place.left
        o, o_next = states[k], states[k - 1]
        with folded(self.backbone.unet, self.adapter, self._adapter_weight(k) - 1):
            eps, eps_o = self.backbone.predict(torch.cat([z, o]), self.timesteps[i]).eps.split(1)
        z = cycle_step(z, eps, o, eps_o, o_next, self.levels[k], self.levels[k - 1])
        return z if self.area is None else self.area * z + (1 - self.area) * o_next

    def _adapter_weight(self, k: int) -> float:
        """1 near the picture, `lora_end` at the noisy end, along half a cosine."""
        share = (1 - math.cos(math.pi * (k - 1) / max(len(self.grid) - 2, 1))) / 2
        return 1 - share * (1 - self.method.lora_end)

    def _source(self, level: int) -> Tensor:
        """The unedited picture at this level, under the noise of this round."""
        place = self._place(level)
        states = self.states[place.round]
        return states[place.left] - (self.levels[place.left] / self.levels[0]) ** 0.5 * (states[0] - self.z0)

    def _preview(self, z: Tensor, level: int) -> Image.Image:
        return super()._preview(z, level) if self._place(level).left else self._picture(z)

    def _finish(self, z: Tensor, level: int, plain: bool) -> Image.Image:
        """End the round; rounds that are still to come are left out."""
        for i in range(level, level + self._place(level).left):
            z = self._denoised(z, i, plain)
        return self._picture(z)
