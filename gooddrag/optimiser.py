"""How the latent goes downhill: Adam, as the paper has it, or steps of one length along the gradient."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor


class NormedDescent(torch.optim.Optimizer):
    """z ← z − lr · g / rms(g): every step goes along the gradient, and its RMS over the latent is `lr`.

    Adam divides each element by the size of its own gradient. Begun afresh at every timestep, its first steps move all
    elements by about `lr`, those that hardly matter as far as those that do; it takes many small steps for the
    difference to show. Here the elements that matter move most from the first step on, so a few steps do.
    """

    def __init__(self, params: Iterable[Tensor], lr: float):
        super().__init__(params, {"lr": lr})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        """One step; where the gradient is 0 nothing moves."""
        for group in self.param_groups:
            for z in group["params"]:
                rms = z.grad.square().mean().sqrt()
                z.sub_(group["lr"] * z.grad / rms.clamp(min=torch.finfo(z.dtype).tiny))


OPTIMISERS: dict[str, type[torch.optim.Optimizer]] = {"adam": torch.optim.Adam, "normed": NormedDescent}
