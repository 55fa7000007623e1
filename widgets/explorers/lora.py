"""What a low-rank adapter learns of one picture: its loss, and what the model makes of noise with and without it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import closing
from typing import NamedTuple

import ipywidgets as ipw
import torch
from PIL import Image
from torch import Tensor

import figures
from figures.style import COLOURS, SMALL, house_style, lines, new_figure
from gooddrag.adapter import Weights, applied
from gooddrag.backbone import Backbone
from gooddrag.diffusion import SourcePath, Timeline, add_noise, ddim_invert, predict_x0
from gooddrag.lora import train_identity
from gooddrag.methods import LoraSettings
from widgets.explorers.base import Explorer, Shown, latent_of, rendered, stacked

GUESS_AT = 861  # timestep where little of the picture is left, so that the guess shows what the model knows by heart
NOISES = 4


class Learned(NamedTuple):
    """One adapter: loss at each step, its weights, the two pictures made with it, and the errors of both."""

    losses: tuple[float, ...]
    weights: Weights
    round_trip: Image.Image
    guess: Image.Image
    round_trip_error: float  # RMS of the latent
    guess_error: float  # the same, over several noises

    @property
    def errors(self) -> str:
        """Both errors, as a piece of a sentence."""
        return f"round trip is off by {self.round_trip_error:.3f} and the guess by {self.guess_error:.3f}"


class LoraExplorer(Explorer):
    """Train adapters of several ranks on one picture, each once, and compare them.

    The *round trip* takes the picture into noise and back (DDIM). The *guess* is the clean picture predicted in one go
    from random noise with little of the picture left in it. Nothing is trained before you press Train.
    """

    def __init__(
        self,
        backbone: Backbone,
        image: Image.Image,
        ranks: tuple[int, ...] = (1, 4, 16),
        steps: tuple[int, ...] = (20, 60),
        timeline: Timeline | None = None,
    ):
        self.backbone, self.image = backbone, image
        self.timeline = timeline or Timeline(20)
        self.frame, self.z0 = latent_of(backbone, image)
        self.trained: dict[tuple[int, int], Learned] = {}
        self._training: asyncio.Task[None] | None = None
        self.without = Learned((), {}, *self._try({}))
        self.rank = ipw.SelectionSlider(options=ranks, description="rank")
        self.steps = ipw.SelectionSlider(options=steps, value=steps[-1], description="steps")
        self.button = ipw.Button(description="Train")
        self.button.on_click(lambda _: self._on_train())
        self.bar = ipw.IntProgress(layout=ipw.Layout(width="160px"))
        super().__init__([self.rank, self.steps, self.button, self.bar])

    @property
    def position(self) -> tuple[object, ...]:
        return tuple(self.trained), self.rank.value, self.steps.value

    def learn(self, rank: int, steps: int) -> Learned:
        """The adapter of a rank after so many steps; trained at the first call."""
        for _ in self.learning(rank, steps):
            pass
        return self.trained[rank, steps]

    def learning(self, rank: int, steps: int) -> Iterator[float]:
        """Train step by step, yielding the losses; nothing where that has been done. Ending it early keeps nothing."""
        if (rank, steps) in self.trained:
            return
        losses: list[float] = []
        weights: Weights = {}
        with closing(train_identity(self.backbone, self.z0, LoraSettings(rank=rank, steps=steps))) as training:
            for news in training:
                if isinstance(news, dict):
                    weights = news
                else:
                    losses.append(news)
                    yield news
        self.trained[rank, steps] = Learned(tuple(losses), weights, *self._try(weights))

    async def train(self) -> None:
        """Train what the sliders say, leaving the kernel free between steps."""
        rank, steps = self.rank.value, self.steps.value
        self.bar.max = steps
        for number, loss in enumerate(self.learning(rank, steps), start=1):
            self.bar.value = number
            self.bar.description = f"{loss:.3f}"
            await asyncio.sleep(0)
        self.refresh()

    def draw(self) -> Shown:
        pictures = rendered(figures.sheet(self._rows(), self._columns(), height=1.9))
        key = self.rank.value, self.steps.value
        if not self.trained:
            return Shown(pictures, f"Without an adapter the {self.without.errors}. Choose a rank and press Train.")
        told = [f"without an adapter the {self.without.errors}"]
        told += [f"with rank {r} ({s} steps) the {kept.errors}" for (r, s), kept in self.trained.items()]
        text = f"Errors (RMS of the latent): {'; '.join(told)}."
        text += "" if key in self.trained else f" Rank {key[0]} after {key[1]} steps is not trained yet."
        return Shown(stacked(pictures, self._curves()), text)

    def _on_train(self) -> None:
        if self._training is None or self._training.done():
            self._training = asyncio.get_event_loop().create_task(self.train())

    def _try(self, weights: Weights) -> tuple[Image.Image, Image.Image, float, float]:
        """Round trip and guess with an adapter, and the errors of both."""
        with torch.no_grad(), applied(self.backbone.unet, weights):
            back, guesses = self._round_trip(), self._guesses()
        round_trip, guessed = (self.frame.to_image(self.backbone.decode(z)) for z in (back, guesses[:1]))
        off, guess_off = (float((z - self.z0).square().mean().sqrt()) for z in (back, guesses))
        return round_trip, guessed, off, guess_off

    def _round_trip(self) -> Tensor:
        *_, noise = ddim_invert(self.backbone, self.z0, self.timeline)
        return SourcePath.denoise(self.backbone, noise, self.timeline).latents[-1]

    def _guesses(self) -> Tensor:
        """Predicted clean latents for several noises (NOISES, C, h, w), the same ones for every adapter."""
        level = self.backbone.alpha_bar(GUESS_AT)
        noise = torch.randn((NOISES, *self.z0.shape[1:]), generator=torch.Generator().manual_seed(1)).to(self.z0)
        z = add_noise(self.z0, noise, level)
        return predict_x0(z, self.backbone.predict(z, GUESS_AT).eps, level)

    @property
    def _all_kept(self) -> list[Learned]:
        return [self.without, *self.trained.values()]

    def _rows(self) -> dict[str, list[Image.Image]]:
        return {
            "round trip": [self.image, *(kept.round_trip for kept in self._all_kept)],
            f"guess\nat t = {GUESS_AT}": [self.image, *(kept.guess for kept in self._all_kept)],
        }

    def _columns(self) -> list[str]:
        return ["source", "without", *(f"rank {rank}, {steps} steps" for rank, steps in self.trained)]

    def _curves(self) -> Image.Image:
        """Losses over the steps, and how far off the guesses are."""
        with house_style():
            figure = new_figure(9, 3)
            left, right = figure.subplots(1, 2)
            for ((rank, steps), kept), look in zip(self.trained.items(), lines(), strict=False):
                smooth = _running_mean(kept.losses)
                left.plot(range(1, len(smooth) + 1), smooth, label=f"rank {rank}, {steps} steps", **look)
            left.set(xlabel="training step", ylabel="loss (mean of the last 10)")
            left.legend(fontsize=SMALL)
            errors = [kept.guess_error for kept in self._all_kept]
            bars = right.barh(self._columns()[1:], errors, color=COLOURS[0], height=0.6)
            right.bar_label(bars, fmt="%.3f", padding=4, fontsize=SMALL)
            right.set(xlabel="error of the guess (RMS of the latent)", xlim=(0, max(errors) * 1.2))
            right.invert_yaxis()
            right.grid(axis="y", visible=False)
        return rendered(figure)


def _running_mean(values: tuple[float, ...], over: int = 10) -> list[float]:
    """Mean of the last ten values: each is measured at other timesteps, so single ones jump."""
    return [sum(values[max(0, k - over) : k]) / min(k, over) for k in range(1, len(values) + 1)]
