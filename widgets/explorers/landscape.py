"""The loss around a handle: what it would be if the patch stood elsewhere. Low ground is where the loss pulls to."""

from __future__ import annotations

from typing import Any

import ipywidgets as ipw
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from figures.style import COLOURS, SMALL, LessonFigure, house_style, new_figure
from gooddrag.backbone import Backbone
from gooddrag.diffusion import SourcePath, ddim_invert
from gooddrag.features import inside, sample_patch, window
from gooddrag.methods import SUPERVISIONS, GradientMethod
from gooddrag.supervision import Norm, Points, patch_losses, step_vector
from gooddrag.task import DragTask
from widgets.explorers.base import WIDE, Explorer, Shown, latent_of, nearest, numbered, rendered
from widgets.pointed import Area, Place

LEAST, MOST = 6, 16  # bounds of the window's radius, in cells


class LossLandscape(Explorer):
    """The patch loss for every offset in a window around one handle of a picture at rest.

    IPMS compares with the handle in the unedited picture, the standard loss with the current handle. Before the first
    drag these are the same patch. Shift the handle from where it began (as a drag that tracks badly would), and they
    part: IPMS still points back at the original, the standard loss is content with where it is.

    Point at a handle in the picture to choose it. Everything is measured without adapter, at the timesteps of `method`.
    """

    def __init__(self, backbone: Backbone, task: DragTask, method: GradientMethod):
        self.task, self.method = task, method
        self.frame, z0 = latent_of(backbone, task.image)
        inverted = list(ddim_invert(backbone, z0, method.timeline))[-1]
        self.path = SourcePath.denoise(backbone, inverted, method.timeline)
        self.p0, self.g = (self.frame.to_cells(points).to(z0) for points in (task.handles, task.targets))
        self._known: dict[tuple[object, ...], np.ndarray] = {}
        ts = method.timeline.timesteps
        self.handle: Any = ipw.Dropdown(options=numbered(len(self.p0)), description="handle")
        self.r1 = ipw.IntSlider(method.r1, 0, 8, description="r1 (patch)")
        self.beta = ipw.FloatSlider(value=method.beta, min=0.5, max=12, step=0.5, description="β (step)")
        self.timestep = ipw.SelectionSlider(options=ts[::-1], value=ts[0], description="timestep t")
        self.loss = ipw.Dropdown(options=list(SUPERVISIONS), value=method.supervision, description="loss")
        self.slip = ipw.IntSlider(0, -4, 4, description="slip of the handle in x", style=WIDE)
        super().__init__([self.handle, self.timestep, self.loss, self.r1, self.beta, self.slip])

    @property
    def radius(self) -> int:
        """Radius of the window in cells: the target of the chosen handle lies inside where it is not too far."""
        k = self.handle.value
        return int(min(max(LEAST, float((self.g[k] - self.p0[k]).abs().max()) + 2), MOST))

    def landscape(
        self, handle: int, r1: int, t: int, loss: str, slip: int = 0, radius: int | None = None
    ) -> np.ndarray:
        """Loss (2R+1, 2R+1) by offset (row: y, column: x) from the handle, NaN where the offset leaves the picture.

        Entry (R, R) is the loss of a patch that stays on the handle; `slip` moves the handle that many cells in x.
        """
        R = self.radius if radius is None else radius
        key = (handle, r1, t, loss, slip, R)
        if key not in self._known:
            F = self.path.features(self.path.timeline.timesteps.index(t))
            p0 = self.p0[handle]
            p = self._slipped(p0, slip)
            args = (F, p0 if loss == "ipms" else p, p, r1, R, self.frame.grid, self.method.quirks.norm)
            self._known[key] = losses_around(*args).cpu().numpy()
        return self._known[key]

    def step(self, handle: int, beta: float, slip: int = 0) -> np.ndarray:
        """Where one supervision step asks the patch to go, as an offset (2,) in cells."""
        p0, g = self.p0[handle : handle + 1], self.g[handle : handle + 1]
        return step_vector(Points(p0, self._slipped(p0, slip), g, self.frame.grid), beta)[0].cpu().numpy()

    def draw(self) -> Shown:
        k, r1, R = self.handle.value, self.r1.value, self.radius
        heat = self.landscape(k, r1, self.timestep.value, str(self.loss.value), self.slip.value)
        with house_style():
            figure = new_figure(9.4, 4.2)
            left, right = figure.subplots(1, 2, width_ratios=(1, 1.2))
            self._draw_window(left, r1, R)
            self._draw_heat(figure, right, heat)
        row, column = np.unravel_index(np.nanargmin(heat), heat.shape)
        name = {"ipms": "IPMS"}.get(str(self.loss.value), self.loss.value)
        text = f"The {name} loss of handle {k + 1} is least, {np.nanmin(heat):.1f}, at the offset "
        text += f"({column - R}, {row - R}); on the handle itself it is {heat[R, R]:.1f}."
        return Shown(rendered(figure), text, (Area.of(left),))

    def point(self, place: Place) -> None:
        self.handle.value = nearest(place, self.task.handles)

    def _slipped(self, p: Tensor, slip: int) -> Tensor:
        limit = p.new_tensor(self.frame.grid) - 1
        return (p + p.new_tensor([slip, 0])).clamp(torch.zeros_like(limit), limit)

    def _draw_window(self, axes: Axes, r1: int, R: int) -> None:
        """The picture with the patch (full line) and the window (dashed)."""
        p = self._slipped(self.p0[self.handle.value], self.slip.value)
        corners = {"patch": (r1, "-"), "window": (R, "--")}
        axes.imshow(np.asarray(self.task.image), interpolation="bicubic")
        for r, dash in corners.values():
            (left, top), (right, below) = self.frame.to_pixels(torch.stack([p - r - 0.5, p + r + 0.5]))
            for colour, width in (("black", 3.2), ("white", 1.6)):
                box = Rectangle((left, top), right - left, below - top, fill=False, ec=colour, lw=width, ls=dash)
                axes.add_patch(box)
        handle, goal = self.frame.to_pixels(torch.stack([p, self.g[self.handle.value]]))
        others = np.delete(self.task.handles, self.handle.value, 0)
        axes.plot(*others.T, "o", color="grey", markersize=7, markeredgecolor="white")
        axes.plot(*handle, "o", color="white", markersize=7, markeredgecolor="black")
        axes.plot(*goal, "*", color=COLOURS[1], markersize=13, markeredgecolor="black")
        axes.set_title("patch, and window (dashed)", fontsize=SMALL)
        axes.set(xlim=(-0.5, self.task.size[0] - 0.5), ylim=(self.task.size[1] - 0.5, -0.5))
        axes.set_axis_off()

    def _draw_heat(self, figure: LessonFigure, axes: Axes, heat: np.ndarray) -> None:
        """The losses by offset, with handle, target and step marked by different shapes."""
        k, R = self.handle.value, len(heat) // 2
        seen = axes.imshow(heat, cmap="viridis", extent=(-R - 0.5, R + 0.5, R + 0.5, -R - 0.5))
        p = self._slipped(self.p0[k], self.slip.value)
        goal, step = (self.g[k] - p).cpu().numpy(), self.step(k, self.beta.value, self.slip.value)
        edge = {"markeredgecolor": "black", "linestyle": "none", "clip_on": False}
        axes.annotate(
            "", (float(step[0]), float(step[1])), (0, 0), arrowprops={"arrowstyle": "-|>", "color": "white", "lw": 2.5}
        )
        axes.plot(0, 0, "o", color="white", markersize=9, label="handle", **edge)
        axes.plot(*step, "D", color=COLOURS[4], markersize=8, label="one step β", **edge)
        axes.plot(*goal, "*", color=COLOURS[1], markersize=15, label="target", **edge)
        row, column = np.unravel_index(np.nanargmin(heat), heat.shape)
        axes.plot(column - R, row - R, "+", color=COLOURS[1], markersize=15, markeredgewidth=3, label="least loss")
        axes.set(
            xlabel="offset x (cells)", ylabel="offset y (cells)", xlim=(-R - 0.5, R + 0.5), ylim=(R + 0.5, -R - 0.5)
        )
        axes.grid(visible=False)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(MaxNLocator(integer=True))
        figure.colorbar(seen, ax=axes, label="loss", shrink=0.9)
        figure.legend(loc="outside upper right", ncols=4, fontsize=SMALL, handletextpad=0.2, columnspacing=1)


def losses_around(
    F: Tensor, reference_at: Tensor, p: Tensor, r1: int, R: int, grid: tuple[int, int], norm: Norm
) -> Tensor:
    """‖ F_Ω(p + o, r1) − F_Ω(reference_at, r1) ‖ for all offsets o in a window of radius R around p.

    F is (1, C, h, w); `reference_at` and p (2,) are integer cells. Returns (2R+1, 2R+1), NaN off the grid.
    """
    centres = (p + window(R, F.device)).flatten(0, 1)
    reference = sample_patch(F, reference_at[None], r1, grid)
    losses = patch_losses(F, centres, reference, reference_at[None], r1, grid, norm)
    return losses.masked_fill(~inside(centres, grid), torch.nan).unflatten(0, (2 * R + 1, 2 * R + 1))
