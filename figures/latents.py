"""Latents and their gradients, made visible."""

from __future__ import annotations

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from numpy.typing import ArrayLike
from PIL import Image

from figures.similarity import framed, subdued
from figures.style import SMALL, LessonFigure, house_style, new_figure

SIGNED = "cividis"  # ever lighter from the least to the greatest value, so that greyscale keeps the sign


def latent_channels(z: ArrayLike, columns: int = 8) -> LessonFigure:
    """Each channel of a latent (C, h, w) as a small picture: dark is below 0, light above, one scale for all.

    The scale leaves out the 1% of values that are farthest from 0, which would drown the rest.
    """
    channels = np.asarray(z, float)
    columns = min(columns, len(channels))
    rows = -(-len(channels) // columns)
    side = max(1.15, 6 / columns)
    limit = float(np.quantile(np.abs(channels), 0.99)) or 1.0
    with house_style():
        figure = new_figure(side * columns + 1, (side * channels.shape[1] / channels.shape[2] + 0.25) * rows)
        grid = figure.subplots(rows, columns, squeeze=False).ravel()
        for axes in grid:
            axes.set_axis_off()
        scale = Normalize(-limit, limit)
        for k, channel in enumerate(channels):
            grid[k].imshow(channel, cmap=SIGNED, norm=scale)
            grid[k].set_title(f"{k}", fontsize=SMALL, pad=2)
        figure.colorbar(ScalarMappable(scale, SIGNED), ax=grid.tolist(), extend="both", label="value")
    sizes = np.sqrt((channels**2).mean((1, 2)))
    return figure.described(
        f"The {len(channels)} channels of a latent, values from {channels.min():.1f} to {channels.max():.1f}. Channel "
        f"{sizes.argmax()} is strongest (RMS {sizes.max():.2f}), channel {sizes.argmin()} weakest ({sizes.min():.2f})."
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
    p, d = np.asarray(handles, float), np.asarray(steps, float)
    with house_style():
        figure = new_figure(5.8, 4.8 * image.height / image.width)
        axes = figure.subplots()
        axes.imshow(subdued(image), cmap="gray", vmin=0, vmax=255, interpolation="bicubic")
        shown = framed(axes, image, heat)
        arrow = {"angles": "xy", "scale_units": "xy", "scale": 1, "width": 0.02, "headwidth": 2.6, "zorder": 3}
        arrow |= {"headlength": 2.4, "headaxislength": 2.2, "minlength": 0.1, "minshaft": 0.6}
        edge = {"color": "white", "edgecolor": "black", "linewidth": 1}
        axes.quiver(p[:, 0], p[:, 1], d[:, 0] * stretch, d[:, 1] * stretch, **edge, **arrow)
        figure.colorbar(shown, ax=axes, shrink=0.9, label="size of the gradient")
    row, column = np.unravel_index(heat.argmax(), heat.shape)
    lengths = np.hypot(d[:, 0], d[:, 1])
    return figure.described(
        f"Size of the loss's gradient over the picture: largest, {heat.max():.2g}, at latent cell ({column}, {row}) of "
        f"{heat.shape[1]}×{heat.shape[0]}; its mean is {heat.mean():.2g}. {len(p)} arrow(s) show the pull, of "
        f"{lengths.min():.1f} to {lengths.max():.1f} px."
    )
