"""The one loop. `iter_edit` yields every step of an edit; `edit` runs it to its end; `Editing` can stop and go on.

Notebooks, widgets, progress bars, recorders and the stop button are all consumers of the same stream. Closing the
stream stops the work at once and leaves the model bit for bit as it was.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageFilter
from torch import Tensor

from gooddrag import cache
from gooddrag.attention import mutual
from gooddrag.backbone import Backbone, Look
from gooddrag.diffusion import SourcePath, ddim_invert, ddim_step, predict_x0
from gooddrag.errors import BadInput, EditFailed
from gooddrag.features import Frame, inside, sample_cells
from gooddrag.lora import Weights, applied, identity_key, refuse_adapted, train_identity
from gooddrag.methods import Method
from gooddrag.result import Result
from gooddrag.schedule import Denoise, Schedule
from gooddrag.steps import Denoised, Dragged, Finished, Inverted, Learned, Measured, Started, Step, Supervised
from gooddrag.supervision import Points, mask_loss, step_vector
from gooddrag.task import DragTask
from gooddrag.tracking import track_points


def edit(backbone: Backbone, task: DragTask, method: Method, *, use_cache: bool = True, frames: int = 0) -> Result:
    """Run an edit to its end.

    Parameters
    ----------
    backbone, task, method
        See `load_backbone`, `DragTask` and `GoodDrag`.
    use_cache
        Keep adapter and source path on disk, so that the next edit of this picture starts at once.
    frames
        How many pictures along the way to keep for an animation. Each costs one denoising from where it is taken.
    """
    with closing(iter_edit(backbone, task, method, use_cache=use_cache)) as stream:
        return Result.collect(stream, task, method, backbone, frames=frames)


def iter_edit(
    backbone: Backbone, task: DragTask, method: Method, *, use_cache: bool = True
) -> Generator[Step, None, None]:
    """GoodDrag's algorithm (and its rivals of the same family) as a stream of steps.

    Yields `Learned`, `Inverted`, `Started`, then in the order of the schedule drags (J times `Supervised`, `Dragged`)
    and `Denoised`, at last `Finished`. Fine-tuning and inversion are passed over where the cache has their result.

    Raises
    ------
    BadInput
        Before any work is done, when method and task do not fit, or another edit's adapter is in the model.
    EditFailed
        When the numbers break down (NaN), or compat="official" meets a border where the published code fails.
    """
    yield from Editing(backbone, task, method, use_cache=use_cache).steps()


class Editing:
    """An edit that can be left and gone on with. Arguments as for `iter_edit`.

    `steps()` is the stream of `iter_edit`. Between two streams the model is as it was without the edit. A stream that
    is opened after the first was closed goes on behind the last step, and what follows is bit for bit what would have
    followed; only fine-tuning and inversion start anew where they weren't at their end.
    """

    def __init__(self, backbone: Backbone, task: DragTask, method: Method, *, use_cache: bool = True):
        self.backbone, self.task, self.method, self.use_cache = backbone, task, method, use_cache
        self.schedule = method.steps_to_take()
        self._frame = Frame.fit(
            task.image.size,
            backbone.latent_scale,
            backbone.image_multiple,
            backbone.working_side,
            official=method.compat == "official",
        )
        _check_fit(task, self._frame)
        self._adapter: Weights | None = None if method.lora else {}
        self._edit: _Edit | None = None

    def steps(self) -> Generator[Step, None, None]:
        """Begin, or go on."""
        backbone, method = self.backbone, self.method
        refuse_adapted(backbone.unet)
        z0 = backbone.encode(self._frame.to_tensor(self.task.image))
        if self._adapter is None:
            self._adapter = yield from _learn_identity(backbone, z0, method, self.use_cache)
        with applied(backbone.unet, self._adapter):
            if self._edit is None:
                path = yield from _source_path(backbone, z0, method, self.use_cache)
                self._edit = _Edit(backbone, self.task, method, self._frame, path)
            yield from self._edit.run(self.schedule)


def _check_fit(task: DragTask, frame: Frame) -> None:
    p0, g = frame.to_cells(task.handles), frame.to_cells(task.targets)
    if bool((p0 == g).all()):
        raise BadInput(
            "Every target lies on its handle's own feature cell, so there is nothing to drag: "
            f"move a target at least {max(frame.pixels_per_cell):.0f} px away."
        )


def _learn_identity(backbone: Backbone, z0: Tensor, method: Method, use_cache: bool) -> Generator[Step, None, Weights]:
    assert method.lora is not None
    key = identity_key(backbone, z0, method.lora, method.seed)
    weights = cache.load("lora", key) if use_cache else None
    if weights is None:
        with closing(train_identity(backbone, z0, method.lora, method.seed)) as training:
            for number, news in enumerate(training, start=1):
                if isinstance(news, dict):
                    weights = news
                else:
                    yield Learned(number, method.lora.steps, news)
        assert weights is not None
        if use_cache:
            cache.store("lora", key, weights)
    return {name: value.to(backbone.device) for name, value in weights.items()}


def _source_path(backbone: Backbone, z0: Tensor, method: Method, use_cache: bool) -> Generator[Step, None, SourcePath]:
    lora = method.lora.model_dump() if method.lora else None
    timeline = method.timeline
    key = cache.content_key("path", backbone.fingerprint, z0, lora, method.seed if lora else None, timeline)
    stored = cache.load("path", key) if use_cache else None
    if stored is not None:
        return SourcePath(backbone, timeline, list(stored["latents"].to(backbone.device).split(1)))
    z = z0
    for number, noisier in enumerate(ddim_invert(backbone, z0, timeline), start=1):
        yield Inverted(number, len(timeline))
        z = noisier
    path = SourcePath.denoise(backbone, z, timeline)
    if use_cache:
        cache.store("path", key, {"latents": torch.cat(path.latents)})
    return path


class _Edit:
    """One edit under way: the latent z, the handles p, and what was last seen of them."""

    def __init__(self, backbone: Backbone, task: DragTask, method: Method, frame: Frame, path: SourcePath):
        self.backbone, self.method, self.frame, self.path = backbone, method, frame, path
        self.timesteps = path.timeline.timesteps
        self.targets = task.targets
        p0, g = (frame.to_cells(points).to(path.latents[0]) for points in (task.handles, task.targets))
        self.points = Points(p0, p0, g, frame.grid, method.reach)
        self.M = _latent_mask(task, frame, path.latents[0], method)  # None: everything may change
        self.original, self.mask = task.image, task.mask
        self.z = path.latents[0].clone()
        self.seen: Look | None = None  # what the U-Net says of z as it is now, where that is known
        self.stale: Look | None = None  # what it said before the last gradient step
        self.drift = torch.zeros(len(p0)).to(p0)
        self.drags_done = self.idle = 0  # idle: drags in a row that moved no handle
        self.dragged_at = -1
        self.losses: tuple[Tensor, Tensor] | None = None  # drag loss and weighted mask term of the last gradient step
        self.started = self.over = False
        self.taken = self.pulled = 0  # steps of the schedule behind us; gradient steps of the drag under way

    def run(self, schedule: Schedule) -> Iterator[Step]:
        """Walk through a schedule (AlDD: paper, algorithm 1), from its beginning or from where the last walk ended."""
        if not self.started:
            self.started = True
            yield self._measure(Started, 0)
        for step in schedule[self.taken :]:
            if isinstance(step, Denoise):
                self._denoise(step.at)
                self.taken += 1
                yield self._measure(Denoised, step.at, of=len(self.timesteps))
            elif self.over:
                self.taken += 1
            else:
                yield from self._drag(step.at)
        self.z = self.z.detach()
        yield Finished(self._picture(self.z), reached=not bool(self.points.under_way.any()))

    def _drag(self, i: int) -> Iterator[Step]:
        """J supervision steps and one tracking at timestep index i; or the end of all dragging."""
        quirks = self.method.quirks
        if self.idle == (self.method.patience or quirks.patience):
            self._end_dragging()
            return
        if i != self.dragged_at and quirks.retrack:
            self._enter(i)
            self._track(i)
        if not self.points.under_way.any():
            self._end_dragging()
            return
        if i != self.dragged_at:
            self._enter(i)
        while self.pulled < self.method.supervision_steps:
            self.losses = self._supervise(i)
            self.pulled += 1
            yield Supervised(self.drags_done + 1, self.pulled, self.method.supervision_steps)
        moved = self._track(i)
        self.idle = 0 if moved else self.idle + 1
        self.drags_done, self.taken, self.pulled = self.drags_done + 1, self.taken + 1, 0
        yield self._measure(Dragged, i, losses=self.losses, of=self.method.drags)

    def _end_dragging(self) -> None:
        self.over = True
        self.taken += 1

    def _enter(self, i: int) -> None:
        """Begin to drag at a timestep: its latent gets an optimiser of its own."""
        self.dragged_at, self.seen, self.stale = i, None, None
        self.z = self.z.detach().requires_grad_()
        self.optimiser = torch.optim.Adam([self.z], lr=self.method.latent_lr)

    def _look(self, i: int) -> Look:
        """One U-Net pass on the latent as it is now, shared by all who ask before it changes."""
        if self.seen is None:
            self.seen = self.backbone.predict(self.z, self.timesteps[i], features=True)
        return self.seen

    def _supervise(self, i: int) -> tuple[Tensor, Tensor]:
        """One gradient step on z; returns the drag loss and the weighted mask term."""
        method, look = self.method, self._look(i)
        assert look.features is not None
        if method.quirks.border_fails:
            self._refuse_border(self.points.p + step_vector(self.points, method.beta), method.r1)
        args = (look.features, self.path.features(i), self.points, method.r1, method.beta, method.quirks.norm)
        drag_loss, keep_loss = method.loss(*args), torch.zeros((), device=self.z.device)
        if self.M is not None and method.mask_weight:
            z_next = self._ddim_step(self.z, look.eps, i)
            keep_loss = method.mask_weight * mask_loss(z_next, self.path.latents[i + 1], self.M)
        self.optimiser.zero_grad()
        (drag_loss + keep_loss).backward()
        self.optimiser.step()
        self.seen, self.stale = None, look
        return drag_loss.detach(), keep_loss.detach()

    def _track(self, i: int) -> bool:
        """Find the handles again; returns whether any has moved."""
        method = self.method
        look = self.stale if method.quirks.stale_tracking and self.stale is not None else self._look(i)
        assert look.features is not None
        if method.quirks.border_fails:
            self._refuse_border(self.points.p, method.r2)
        f0 = sample_cells(self.path.features(i), self.points.p0, self.frame.grid)
        p, self.drift = track_points(look.features.detach(), f0, self.points.p, method.r2, self.frame.grid)
        moved = bool((p != self.points.p).any())
        self.points = replace(self.points, p=p)
        return moved

    def _refuse_border(self, centre: Tensor, radius: int) -> None:
        corners = torch.cat([centre.floor() - radius, centre.ceil() + radius])
        if not inside(corners, self.frame.grid).all():
            raise EditFailed(
                "A handle has come so near to the picture's border that the published code fails here (quirk Q8): "
                'use compat="paper", which cuts patches at the border.'
            )

    def _denoise(self, i: int) -> None:
        look = self.seen.eps.detach() if self.seen is not None else None
        self.z = self._denoised(self.z.detach(), i, plain=i == self.dragged_at, eps=look)
        self.seen = self.stale = None

    @torch.no_grad()
    def _denoised(self, z: Tensor, i: int, plain: bool, eps: Tensor | None = None) -> Tensor:
        """f(z): one DDIM step, after the drags with mutual self-attention."""
        borrowing = {"always": True, "after_drags": not plain, "off": False}[self.method.mutual_attention]
        if borrowing:
            with mutual(self.backbone.late_self_attention, self.path.attention(i)):
                eps = self.backbone.predict(z, self.timesteps[i]).eps
        elif eps is None:
            eps = self.backbone.predict(z, self.timesteps[i]).eps
        return self._ddim_step(z, eps, i)

    def _ddim_step(self, z: Tensor, eps: Tensor, i: int) -> Tensor:
        t = self.timesteps[i]
        after = self.path.timeline.after(t)
        return ddim_step(z, eps, self.backbone.alpha_bar(t), self.backbone.alpha_bar(after))

    def _measure(
        self, kind: type[Measured], i: int, losses: tuple[Tensor, Tensor] | None = None, **more: Any
    ) -> Measured:
        """Read everything off the device at once and make a step of it."""
        z = self.z.detach().clone()
        level = i + 1 if kind is Denoised else i  # index of the noise level that z is at
        change = perturbation(z, self.path.latents[level], self.M)
        n = len(self.points.p)
        numbers = torch.cat([self.points.p.flatten(), self.drift, *(x.reshape(1) for x in (*change, *(losses or ())))])
        if not numbers[: 3 * n].isfinite().all():
            raise EditFailed("The edit's numbers broke down (NaN or infinite): lower latent_lr or beta.")
        read = numbers.double().cpu()
        if losses:
            more |= {"loss_drag": float(read[-2]), "loss_mask": float(read[-1])}
        plain = kind is not Denoised and i == self.dragged_at
        return kind(
            drag=self.drags_done,
            at=i,
            t=self.timesteps[i],
            handles=self.frame.to_pixels(read[: 2 * n].reshape(n, 2)),
            targets=self.targets,
            drift=read[2 * n : 3 * n].numpy(),
            perturbation=(float(read[3 * n]), float(read[3 * n + 1])),
            latent=z,
            preview=lambda: self._preview(z, level),
            finish=lambda: self._finish(z, level, plain),
            **more,
        )

    @torch.no_grad()
    def _preview(self, z: Tensor, level: int) -> Image.Image:
        if level == len(self.timesteps):
            return self._picture(z)
        t = self.timesteps[level]
        return self._picture(predict_x0(z, self.backbone.predict(z, t).eps, self.backbone.alpha_bar(t)))

    def _finish(self, z: Tensor, level: int, plain: bool) -> Image.Image:
        for i in range(level, len(self.timesteps)):
            z = self._denoised(z, i, plain=plain and i == level)
        return self._picture(z)

    def _picture(self, z: Tensor) -> Image.Image:
        picture = self.frame.to_image(self.backbone.decode(z))
        if self.method.keep_outside and self.mask is not None:
            hard = Image.fromarray(self.mask.astype(np.uint8) * 255)
            soft = hard.filter(ImageFilter.GaussianBlur(self.method.feather))
            picture = Image.composite(picture, self.original, soft)
        return picture


def perturbation(z: Tensor, source: Tensor, M: Tensor | None) -> tuple[Tensor, Tensor]:
    """RMS of edit minus source latent (1, C, h, w) inside and outside the mask; NaN where there is no such part."""
    square = (z - source).square().mean(1, keepdim=True)
    M = torch.ones_like(square) if M is None else M
    return tuple(((square * part).sum() / part.sum()).sqrt() for part in (M, 1 - M))  # type: ignore[return-value]


def _latent_mask(task: DragTask, frame: Frame, z: Tensor, method: Method) -> Tensor | None:
    if task.mask is not None:
        return frame.to_latent_mask(task.mask, (z.shape[2], z.shape[3])).to(z)
    return torch.zeros_like(z[:, :1]) if method.quirks.empty_mask_locks else None
