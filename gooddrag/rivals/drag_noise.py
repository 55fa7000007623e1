"""DragNoise: *Drag Your Noise: Interactive Point-based Editing via Diffusion Semantic Propagation* (CVPR 2024).

Source: arXiv 2404.01050 and the published settings. What the U-Net makes of a latent is decided in its bottleneck, the
output h of the middle block. So h is optimised in place of the latent, at one timestep, by the loss that DragDiffusion
has (the paper's semantic alignment); then the same h stands in for the U-Net's own at the following timesteps, down to
the last `free_steps` (the paper's t′ = 10), where fine detail is left to the U-Net.

Pocket's middle block, 2 × 2 cells wide, has next to no say (without it the prediction changes by 0.06 %), so there a
block of the decoder is dragged in its place.

Simplified: the published code also puts h into the reference branch that lends keys and values; here these come from
the source as it is. Without a mask everything may change, where the published code then holds the whole picture.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

from gooddrag.loop import GradientEdit
from gooddrag.methods import DragNoise
from gooddrag.steps import MakePicture, Measured


class NoiseEdit(GradientEdit[DragNoise]):
    """An edit whose unknown is the bottleneck h (1, C', h', w'); the latent moves only when it is denoised."""

    h: Tensor | None = None

    def _enter(self, i: int) -> None:
        self._forget()
        self.dragged_at, self.stale = i, None
        self.z = self.z.detach()
        with torch.no_grad(), heard(self.bottleneck) as outputs:
            self.backbone.predict(self.z, self.timesteps[i])
        self.h = outputs[0].to(self.z.dtype).requires_grad_()
        self.optimiser = torch.optim.Adam([self.h], lr=self.method.latent_lr)

    @property
    def bottleneck(self) -> nn.Module:
        unet = self.backbone.unet
        return {"mid": unet.mid_block, "up0": unet.up_blocks[0], "up1": unet.up_blocks[1]}[self.method.block]

    def _steered(self, i: int) -> AbstractContextManager[None]:
        if self.h is None or i >= len(self.timesteps) - self.method.free_steps:
            return nullcontext()
        return replaced(self.bottleneck, self.h)

    def _measure(self, *args: Any, **more: Any) -> Measured:
        step = super()._measure(*args, **more)
        h = None if self.h is None else self.h.detach().clone()
        return replace(step, preview=self._with(h, step.preview), finish=self._with(h, step.finish))

    def _with(self, h: Tensor | None, make: MakePicture) -> MakePicture:
        """The same picture whenever it is asked for, though h goes on to change."""

        def picture() -> Image.Image:
            now, self.h = self.h, h
            try:
                return make()
            finally:
                self.h = now

        return picture


@contextmanager
def heard(block: nn.Module) -> Iterator[list[Tensor]]:
    """Collect what a block of the U-Net puts out."""
    outputs: list[Tensor] = []
    hook = block.register_forward_hook(lambda *seen: outputs.append(seen[2].detach()))
    try:
        yield outputs
    finally:
        hook.remove()


@contextmanager
def replaced(block: nn.Module, h: Tensor) -> Iterator[None]:
    """Let h stand for what a block of the U-Net puts out; gradients flow to h."""
    hook = block.register_forward_hook(lambda *seen: h.to(seen[2].dtype))
    try:
        yield
    finally:
        hook.remove()
