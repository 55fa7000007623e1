"""Ask the U-Net's blocks: where else in the picture does it look like at this point?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import ipywidgets as ipw
import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity

import figures
from figures.style import LessonFigure
from gooddrag.backbone import Backbone
from gooddrag.diffusion import Timeline, ddim_invert
from gooddrag.errors import BadInput
from widgets.explorers.base import Explorer, Shown, latent_of, rendered, stacked
from widgets.pointed import Area, Place

IN_A_ROW = 3


class SimilarityExplorer(Explorer):
    """Cosine similarity of every place to the one under the pointer, for the outputs of the U-Net's blocks.

    Each map keeps the resolution of its block, since that is what the block knows. The picture is taken back to
    timestep t by DDIM inversion (50 steps); one pass of the U-Net there serves all points and blocks.
    """

    hover = True

    def __init__(self, backbone: Backbone, image: Image.Image, t: int = 401):
        self.backbone, self.image, self.t = backbone, image, t
        self.features = block_features(backbone, _noisy(backbone, image, t), t)
        width, height = image.size
        self.x = ipw.IntSlider(width // 2, 0, width - 1, description="x")
        self.y = ipw.IntSlider(height // 2, 0, height - 1, description="y")
        names = list(self.features)
        used = used_block(backbone)
        self.blocks = ipw.SelectMultiple(
            options=[(f"{name} (GoodDrag's)" if name == used else name, name) for name in names],
            value=tuple(name for name in names if name in ("down 0", "mid", used)),
            description="blocks",
            rows=min(len(names), 6),
        )
        super().__init__([self.x, self.y, self.blocks])

    def similarity(self, block: str, at: tuple[float, float]) -> np.ndarray:
        """Map (h, w) of one block, −1 to 1: how alike each place is to the one that holds the point `at` (image px)."""
        F = self.features[block]
        column, row = cell_of(at, self.image.size, (F.shape[3], F.shape[2]))
        return cosine_similarity(F[0], F[0, :, row, column][:, None, None], dim=0).cpu().numpy()

    def maps(self, at: tuple[float, float], blocks: Sequence[str] | None = None) -> dict[str, np.ndarray]:
        """Maps of several blocks (all, where none are named), by name."""
        return {name: self.similarity(name, at) for name in (self.features if blocks is None else blocks)}

    def draw(self) -> Shown:
        at, blocks = (self.x.value, self.y.value), self.blocks.value
        if not blocks:
            return Shown(self.image, "Choose one block or several (Ctrl-click or Shift with the arrow keys).")
        maps = self.maps(at, blocks)
        titled = [(f"{name}: {heat.shape[1]}×{heat.shape[0]}", heat) for name, heat in maps.items()]
        figure_rows = [
            figures.similarity_maps(self.image, dict(titled[k : k + IN_A_ROW]), at)
            for k in range(0, len(titled), IN_A_ROW)
        ]
        lines = [rendered(figure) for figure in figure_rows]
        told = ", ".join(title for title, _ in titled)
        text = f"How alike each place is to the point {at}, brighter is more, for: {told}."
        return Shown(stacked(*lines), text, _areas(figure_rows, lines))

    def point(self, place: Place) -> None:
        self.x.value, self.y.value = round(place.x), round(place.y)  # sliders keep to their ends

    @property
    def place(self) -> Place:
        return Place(0, self.x.value, self.y.value)


def _areas(maps: Sequence[LessonFigure], drawn: Sequence[Image.Image]) -> tuple[Area, ...]:
    """The maps of several figures that stand below each other, each in the middle."""
    width, top = max(picture.width for picture in drawn), 0
    areas: list[Area] = []
    for figure, picture in zip(maps, drawn, strict=True):
        left = (width - picture.width) // 2
        areas += [
            Area.of(axes).moved(left, top) for axes in figure.axes if len(axes.images) == 2
        ]  # not the colour bars
        top += picture.height
    return tuple(areas)


def block_features(backbone: Backbone, z: Tensor, t: int) -> dict[str, Tensor]:
    """Output (1, C', h', w') of every block of the U-Net at z (1, C, h, w), by name, from the input to the output."""
    with torch.no_grad(), _listening(_blocks(backbone)) as heard:
        backbone.predict(z, t)
    return heard


def used_block(backbone: Backbone) -> str:
    """Name of the block whose features GoodDrag reads."""
    return next(name for name, block in _blocks(backbone).items() if block is backbone.feature_block)


def cell_of(at: tuple[float, float], picture: tuple[int, int], cells: tuple[int, int]) -> tuple[int, int]:
    """Column and row of the map cell that an image pixel lies in; sizes are (width, height)."""
    column, row = (min(max(int((a + 0.5) * c / p), 0), c - 1) for a, p, c in zip(at, picture, cells, strict=True))
    return column, row


def _blocks(backbone: Backbone) -> dict[str, nn.Module]:
    unet = backbone.unet
    down = {f"down {k}": block for k, block in enumerate(unet.down_blocks)}
    up = {f"up {k}": block for k, block in enumerate(unet.up_blocks)}
    return down | ({"mid": unet.mid_block} if unet.mid_block is not None else {}) | up


@contextmanager
def _listening(blocks: dict[str, nn.Module]) -> Iterator[dict[str, Tensor]]:
    heard: dict[str, Tensor] = {}

    def keep(name: str) -> Any:
        def hook(_: nn.Module, __: Any, out: Any) -> None:
            heard[name] = (out[0] if isinstance(out, tuple) else out).detach().float()  # down blocks return skips too

        return hook

    with ExitStack() as hooks:
        for name, block in blocks.items():
            hooks.callback(block.register_forward_hook(keep(name)).remove)
        yield heard


def _noisy(backbone: Backbone, image: Image.Image, t: int) -> Tensor:
    """The picture's latent, inverted up to timestep t."""
    timeline = Timeline(strength=1)
    if t not in timeline.timesteps:
        near = min(timeline.timesteps, key=lambda known: abs(known - t))
        raise BadInput(f"The timestep {t} is not on the ladder 1, 21, … 981 of 50 steps: use {near}.")
    z = latent_of(backbone, image)[1]
    for level, noisier in zip(reversed(timeline.timesteps), ddim_invert(backbone, z, timeline), strict=True):
        if level == t:
            return noisier
    raise AssertionError("every timestep of the ladder is passed")
