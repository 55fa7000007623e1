"""Up and down the noise ladder: what the picture has become at a timestep, and what the model still sees in it."""

from __future__ import annotations

import ipywidgets as ipw
import torch
from PIL import Image
from torch import Tensor

import figures
from gooddrag.backbone import Backbone
from gooddrag.diffusion import Timeline, add_noise, ddim_invert, predict_x0
from widgets.explorers.base import WIDE, Explorer, Shown, latent_of, shown

NOISES = {"the picture's own (DDIM inversion)": True, "random": False}


class TimestepScrubber(Explorer):
    """Scrub through the timesteps of a timeline.

    The noise is either the one that inversion finds, from which the way back leads to this very picture, or random.
    """

    def __init__(self, backbone: Backbone, image: Image.Image, timeline: Timeline | None = None):
        self.backbone, self.image = backbone, image
        self.timeline = timeline or Timeline()
        self.frame, self.z0 = latent_of(backbone, image)
        ladder = ddim_invert(backbone, self.z0, self.timeline)
        self._inverted = dict(zip(reversed(self.timeline.timesteps), ladder, strict=True))
        self._noise = torch.randn(self.z0.shape, generator=torch.Generator().manual_seed(0)).to(self.z0)
        ts = sorted(self._inverted)
        self.timestep = ipw.SelectionSlider(options=ts, value=ts[len(ts) // 2], description="timestep t")
        self.noise = ipw.Dropdown(options=NOISES, value=True, description="noise", style=WIDE)
        super().__init__([self.timestep, self.noise])

    def latent(self, t: int, inverted: bool = True) -> Tensor:
        """z at timestep t (1, C, h, w), by inversion or by mixing in the same random noise at every t."""
        if inverted:
            return self._inverted[t]
        return add_noise(self.z0, self._noise, self.backbone.alpha_bar(t))

    @torch.no_grad()
    def x0(self, t: int, inverted: bool = True) -> Tensor:
        """The clean latent (1, C, h, w) that the model predicts from z at timestep t, in one go."""
        z = self.latent(t, inverted)
        return predict_x0(z, self.backbone.predict(z, t).eps, self.backbone.alpha_bar(t))

    def pictures(self, t: int, inverted: bool = True) -> dict[str, Image.Image]:
        """Source, noisy picture and predicted clean picture, by title."""
        z, x0 = self.latent(t, inverted), self.x0(t, inverted)
        noisy, clean = (self.frame.to_image(self.backbone.decode(latent)) for latent in (z, x0))
        return {"source": self.image, f"z at t = {t}": noisy, "predicted x0": clean}

    def draw(self) -> Shown:
        t, inverted = self.timestep.value, bool(self.noise.value)
        picture = shown(figures.before_after(self.pictures(t, inverted), height=2.8)).picture
        kind = "the noise that inversion found" if inverted else "random noise"
        signal = self.backbone.alpha_bar(t) ** 0.5
        return Shown(picture, f"At t = {t}, with {kind}: √ᾱ = {signal:.2f} of the signal is left.")
