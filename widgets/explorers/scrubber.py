"""Up and down the noise ladder: what the picture has become at a timestep, and what the model still sees in it."""

from __future__ import annotations

from collections.abc import Sequence

import ipywidgets as ipw
import numpy as np
import torch
from PIL import Image
from torch import Tensor

import figures
from figures.style import COLOURS, SMALL, LessonFigure, house_style, new_figure
from gooddrag.backbone import Backbone
from gooddrag.diffusion import Timeline, add_noise, ddim_invert, predict_x0
from widgets.explorers.base import WIDE, Explorer, Shown, latent_of, rendered, stacked
from widgets.pointed import Area, Place

NOISES = {"the picture's own (DDIM inversion)": True, "random": False}
RUNGS = 8  # of the ladder that are shown
WIDTH, HEIGHT = 1.02, 1.3  # of a rung, in inches


class TimestepScrubber(Explorer):
    """Scrub through the timesteps of a timeline.

    The noise is either the one that inversion finds, from which the way back leads to this very picture, or random.
    Below stands the ladder of noise levels: press on it to go there.
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
        self.rungs = [ts[round(k)] for k in np.linspace(0, len(ts) - 1, min(RUNGS, len(ts)))]
        self._ladders: dict[bool, list[Image.Image]] = {}
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
        return {"source": self.image, f"z at t = {t}": self._decoded(z), "predicted x0": self._decoded(x0)}

    def ladder(self, inverted: bool = True) -> list[Image.Image]:
        """The noisy pictures at the timesteps `rungs`, each decoded once."""
        if inverted not in self._ladders:
            self._ladders[inverted] = [self._decoded(self.latent(t, inverted)) for t in self.rungs]
        return self._ladders[inverted]

    def point(self, place: Place) -> None:
        self.timestep.value = self.rungs[place.area]

    def draw(self) -> Shown:
        t, inverted = self.timestep.value, bool(self.noise.value)
        above = rendered(figures.before_after(self.pictures(t, inverted), height=2.8))
        strip = _strip(self.rungs, self.ladder(inverted), near=min(self.rungs, key=lambda rung: abs(rung - t)))
        below = rendered(strip)
        picture = stacked(above, below)
        areas = (Area.of(axes).moved((picture.width - below.width) // 2, above.height) for axes in strip.axes)
        kind = "the noise that inversion found" if inverted else "random noise"
        signal = self.backbone.alpha_bar(t) ** 0.5
        return Shown(picture, f"At t = {t}, with {kind}: √ᾱ = {signal:.2f} of the signal is left.", tuple(areas))

    def _decoded(self, latent: Tensor) -> Image.Image:
        return self.frame.to_image(self.backbone.decode(latent))


def _strip(timesteps: Sequence[int], pictures: Sequence[Image.Image], near: int) -> LessonFigure:
    """Small pictures in a row under their timesteps; the one nearest to the slider is framed."""
    with house_style():
        figure = new_figure(WIDTH * len(pictures), HEIGHT)
        for axes, t, picture in zip(
            figure.subplots(1, len(pictures), squeeze=False)[0], timesteps, pictures, strict=True
        ):
            axes.imshow(np.asarray(picture), interpolation="bicubic")
            axes.set(xticks=[], yticks=[])
            axes.set_title(f"{t}", fontsize=SMALL, fontweight="bold" if t == near else "normal", pad=4)
            axes.spines[:].set(visible=t == near, color=COLOURS[1], linewidth=3)
    return figure
