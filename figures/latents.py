"""Latents and their gradients, made visible."""

from __future__ import annotations

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from numpy.typing import ArrayLike
from PIL import Image

from figures.style import COLOURS, LessonFigure, house_style, new_figure


def latent_channels(z: ArrayLike, columns: int = 8) -> LessonFigure:
    """Each channel of a latent (C, h, w) as a small picture; blue is below 0, red above, one scale for all."""
    channels = np.asarray(z, float)
    rows = -(-len(channels) // columns)
    limit = float(np.abs(channels).max()) or 1.0
    with house_style():
        figure = new_figure(1.15 * columns, 1.3 * rows + 0.3)
        grid = figure.subplots(rows, columns, squeeze=False).ravel()
        for axes in grid:
            axes.set_axis_off()
        scale = Normalize(-limit, limit)
        for k, channel in enumerate(channels):
            grid[k].imshow(channel, cmap="RdBu_r", norm=scale)
            grid[k].set_title(f"{k}", fontsize=9, pad=2)
        figure.colorbar(ScalarMappable(scale, "RdBu_r"), ax=grid.tolist(), shrink=0.8)
    return figure.described(
        f"The {len(channels)} channels of a latent; values lie between −{limit:.1f} and {limit:.1f}."
    )


def gradient_arrows(
    image: Image.Image, gradient: ArrayLike, handles: ArrayLike, steps: ArrayLike, stretch: float = 1.0
) -> LessonFigure:
    """Where a loss wants the latent to change (heat), and which way each handle is pulled (arrows).

    Parameters
    ----------
    gradient
        (C, h, w), of the loss with respect to the latent; its size over the channels is shown.
    handles, steps
        (n, 2) each, in image px: where the handles are, and one step towards their targets.
    stretch
        Arrows are drawn so many times as long as the steps are.
    """
    heat = np.sqrt((np.asarray(gradient, float) ** 2).sum(0))
    p, d = np.asarray(handles, float), np.asarray(steps, float) * stretch
    with house_style():
        figure = new_figure(4.8, 4.4 * image.height / image.width)
        axes = figure.subplots()
        axes.imshow(np.asarray(image), interpolation="bicubic")
        frame = (-0.5, image.width - 0.5, image.height - 0.5, -0.5)
        shown = axes.imshow(heat, cmap="inferno", alpha=0.55, extent=frame, interpolation="nearest")
        arrow = {"angles": "xy", "scale_units": "xy", "scale": 1, "width": 0.014}
        axes.quiver(p[:, 0], p[:, 1], d[:, 0], d[:, 1], color=COLOURS[5], edgecolor="black", linewidth=0.8, **arrow)
        axes.set(xlim=frame[:2], ylim=frame[2:])
        axes.set_axis_off()
        figure.colorbar(shown, ax=axes, shrink=0.8, label="size of the gradient")
    row, column = np.unravel_index(heat.argmax(), heat.shape)
    return figure.described(
        f"Gradient of the loss over the picture with {len(p)} arrow(s) for the pull; it is largest at latent cell "
        f"({column}, {row})."
    )
