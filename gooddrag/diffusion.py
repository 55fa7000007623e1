"""DDIM: one step, the timesteps it visits, the inversion, and the path of the unedited picture.

Everything here is deterministic (η = 0) but `renewing_step`. Drags, losses and attention live elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from gooddrag.errors import BadInput

if TYPE_CHECKING:
    from gooddrag.backbone import Backbone

TRAINING_STEPS = 1000


@dataclass(frozen=True)
class Timeline:
    """The timesteps of an edit: the last `round(strength · steps)` of `steps` DDIM steps, noisiest first.

    Spacing is "leading" with offset 1, as Stable Diffusion's: 50 steps visit 981, 961, … 21, 1, and strength 0.75
    leaves 38 of them, 741 … 1 (halves round to even, as in the official code).
    """

    steps: int = 50
    strength: float = 0.75

    def __post_init__(self) -> None:
        if not 1 <= self.steps <= TRAINING_STEPS or not 0 < self.strength <= 1 or round(self.strength * self.steps) < 1:
            raise BadInput(
                f"{self.steps} DDIM steps at strength {self.strength} leave nothing to do: use 1 to 1000 steps "
                "and a strength above 0 and at most 1."
            )

    @property
    def stride(self) -> int:
        return TRAINING_STEPS // self.steps

    @property
    def timesteps(self) -> tuple[int, ...]:
        live = round(self.strength * self.steps)
        return tuple(1 + self.stride * i for i in reversed(range(live)))

    def __len__(self) -> int:
        return len(self.timesteps)

    def after(self, t: int) -> int:
        """The level that a denoise step from t arrives at; below 0 it means the clean end (alpha_bar[0])."""
        return t - self.stride


def add_noise(z0: Tensor, eps: Tensor, alpha_bar: float) -> Tensor:
    """The latent at noise level ᾱ: √ᾱ z0 + √(1−ᾱ) ε  (DDIM, formula 4)."""
    return alpha_bar**0.5 * z0 + (1 - alpha_bar) ** 0.5 * eps


def predict_x0(z: Tensor, eps: Tensor, alpha_bar: float) -> Tensor:
    """The clean latent that a noise prediction implies: (z − √(1−ᾱ) ε) / √ᾱ  (DDIM, formula 9)."""
    return (z - (1 - alpha_bar) ** 0.5 * eps) / alpha_bar**0.5


def ddim_step(z: Tensor, eps: Tensor, alpha_bar: float, alpha_bar_next: float) -> Tensor:
    """One deterministic DDIM step f(z) from noise level ᾱ to ᾱ_next, in either direction (DDIM, formula 12).

    Parameters
    ----------
    z, eps
        Latent and noise prediction (B, C, h, w).
    alpha_bar, alpha_bar_next
        Cumulative signal share at the level of `z` and at the level to reach.
    """
    return add_noise(predict_x0(z, eps, alpha_bar), eps, alpha_bar_next)


def guided(eps: Tensor, eps_unprompted: Tensor, scale: float) -> Tensor:
    """Classifier-free guidance: ε(∅) + s (ε(c) − ε(∅)), further along what the prompt c changes (Ho and Salimans 2022).

    With s = 1 it is ε(c), with s = 0 the prompt has no say.
    """
    return eps_unprompted + scale * (eps - eps_unprompted)


def fresh_noise_scale(alpha_bar: float, alpha_bar_next: float) -> float:
    """σ of a DDPM step from ᾱ to ᾱ_next, √((1−ᾱ_next)/(1−ᾱ)) √(1 − ᾱ/ᾱ_next)  (DDIM, formula 16 with η = 1)."""
    return ((1 - alpha_bar_next) / (1 - alpha_bar)) ** 0.5 * max(1 - alpha_bar / alpha_bar_next, 0.0) ** 0.5


def renewing_step(z: Tensor, eps: Tensor, noise: Tensor, alpha_bar: float, alpha_bar_next: float, eta: float) -> Tensor:
    """A DDIM step that replaces part of the noise by fresh `noise` (B, C, h, w)  (DDIM, formula 12 with σ = η σ₁).

    With η = 0 it is `ddim_step`, with η = 1 a step of DDPM. What was bent into the noise goes with it, and the model
    fills the gap with what it knows.
    """
    sigma = eta * fresh_noise_scale(alpha_bar, alpha_bar_next)
    kept = max(1 - alpha_bar_next - sigma**2, 0.0) ** 0.5
    return alpha_bar_next**0.5 * predict_x0(z, eps, alpha_bar) + kept * eps + sigma * noise


@torch.no_grad()
def ddim_invert(backbone: Backbone, z0: Tensor, timeline: Timeline) -> Iterator[Tensor]:
    """Walk the picture's latent back into noise; yields the latent after each step, least noisy first.

    The U-Net is shown the latent of the level that a step leaves, but told the timestep where it arrives (official
    code): on the way back it will be shown another latent there, and that is what makes inversion approximate.
    """
    z = z0
    for t in reversed(timeline.timesteps):
        eps = backbone.predict(z, t).eps
        z = ddim_step(z, eps, backbone.alpha_bar(timeline.after(t)), backbone.alpha_bar(t))
        yield z


@dataclass(eq=False)
class SourcePath:
    """The unedited picture's way from noise back to the picture, and what the edit borrows from it on the way.

    `latents[i]` (1, C, h, w) is the source at timestep index i (the level that z has *before* the i-th denoise step);
    there is one more latent than timesteps, the last is the clean end. Features and attention inputs are computed
    at first use and kept; by a backbone whose memory is "low", only for one timestep at a time.
    """

    backbone: Backbone
    timeline: Timeline
    latents: list[Tensor]
    _features: dict[int, Tensor] = field(default_factory=dict, repr=False)
    _attention: dict[int, list[Tensor]] = field(default_factory=dict, repr=False)

    @classmethod
    def denoise(cls, backbone: Backbone, inverted: Tensor, timeline: Timeline) -> SourcePath:
        """Denoise the inverted latent once, keeping everything that the edit will ask for."""
        path = cls(backbone, timeline, [inverted])
        for i, t in enumerate(timeline.timesteps):
            eps = path._look(i)
            level, next_level = backbone.alpha_bar(t), backbone.alpha_bar(timeline.after(t))
            path.latents.append(ddim_step(path.latents[-1], eps, level, next_level))
        return path

    @classmethod
    @torch.no_grad()
    def invert(cls, backbone: Backbone, z0: Tensor, timeline: Timeline) -> Iterator[SourcePath]:
        """Our own short cut: inversion's latents are the path, and one pass a timestep serves both.

        For that the U-Net is told the timestep of the latent that it is shown (but at the clean end, where it is told
        the first). The path ends at the picture's own latent. Yields it after each step; it is whole after the last.
        """
        path = cls(backbone, timeline, [z0] * (len(timeline) + 1))
        eps = backbone.predict(z0, timeline.timesteps[-1]).eps
        for i, t in reversed(list(enumerate(timeline.timesteps))):
            level, next_level = backbone.alpha_bar(timeline.after(t)), backbone.alpha_bar(t)
            path.latents[i] = ddim_step(path.latents[i + 1], eps, level, next_level)
            eps = path._look(i)
            yield path

    def features(self, at: int) -> Tensor:
        """Feature map of the unedited latent at timestep index `at` (1, C, h', w')."""
        if at not in self._features:
            self._look(at)
        return self._features[at]

    def attention(self, at: int) -> list[Tensor]:
        """Inputs of the late self-attention layers at timestep index `at`, in the order of the layers."""
        if at not in self._attention:
            self._look(at)
        return self._attention[at]

    @torch.no_grad()
    def _look(self, at: int) -> Tensor:
        with self.backbone.recording() as inputs:
            seen = self.backbone.predict(self.latents[at], self.timeline.timesteps[at], features=True)
        assert seen.features is not None
        if self.backbone.memory == "low":
            self._features.clear()
            self._attention.clear()
        self._features[at], self._attention[at] = seen.features, inputs
        return seen.eps
