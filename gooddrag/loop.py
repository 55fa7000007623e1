"""One edit under way, and the one loop that walks it through its schedule. `editor.py` prepares what it needs.

`Edit` is what all methods share: denoise, measure, finish the picture. `GradientEdit` drags as GoodDrag does (paper,
algorithm 1). A rival that does something else writes down that alone, in `rivals/`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from PIL import Image, ImageFilter
from torch import Tensor

from gooddrag.adapter import Weights
from gooddrag.backbone import Backbone, Look
from gooddrag.diffusion import SourcePath, ddim_step, guided, predict_x0, renewing_step
from gooddrag.errors import EditFailed
from gooddrag.features import Frame, inside, sample_cells
from gooddrag.methods import GradientMethod, Method
from gooddrag.route import Route, simplified
from gooddrag.schedule import Denoise, Schedule
from gooddrag.steps import Denoised, Dragged, Finished, Measured, Started, Step, Supervised
from gooddrag.supervision import Points, mask_loss, step_vector
from gooddrag.task import DragTask
from gooddrag.tracking import track_points

M = TypeVar("M", bound=Method)
G = TypeVar("G", bound=GradientMethod)


class Edit(Generic[M]):
    """One edit under way: the latent z, the handles p, and where it stands in its schedule.

    Everything that changes is kept here, so that a walk which was broken off can go on. A subclass says what a drag is:
    `_drag(i)` changes z and the points, counts with `_count_drag` and yields `Dragged`.
    """

    def __init__(self, backbone: Backbone, task: DragTask, method: M, frame: Frame, path: SourcePath, adapter: Weights):
        self.backbone, self.method, self.frame, self.path, self.adapter = backbone, method, frame, path, adapter
        self.timesteps = path.timeline.timesteps
        self.targets = task.targets
        self.z = path.latents[0].clone()
        p0 = frame.to_cells(task.handles).to(self.z)
        cell = min(frame.pixels_per_cell)
        self.route = Route.along([frame.to_cells(simplified(way, cell)[1:]).to(self.z) for way in task.ways])
        self.points = Points(p0, p0, self.route.heading, frame.grid)
        self.original, self.mask = task.image, task.mask
        self.M = (
            None
            if task.mask is None
            else frame.to_latent_mask(task.mask, (self.z.shape[2], self.z.shape[3])).to(self.z)
        )
        self.drift = torch.zeros(len(p0)).to(p0)
        self.seen: Look | None = None  # what the U-Net says of z as it is now, where that is known
        self.glimpse: Tensor | None = None  # its features, where nothing else was asked for
        self.drags_done = self.taken = 0  # taken: steps of the schedule behind us
        self.dragged_at = -1
        self.started = self.over = False

    def run(self, schedule: Schedule) -> Iterator[Step]:
        """Walk through a schedule, from its beginning or from where the last walk ended."""
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
        """One drag at timestep index i."""
        raise NotImplementedError

    def _count_drag(self) -> None:
        self.drags_done, self.taken = self.drags_done + 1, self.taken + 1

    def _predict(self, z: Tensor, i: int, features: bool = False) -> Look:
        """What the U-Net says of z at timestep index i."""
        with self._steered(i):
            return self.backbone.predict(z, self.timesteps[i], features)

    def _steered(self, i: int) -> AbstractContextManager[None]:
        """The U-Net while it is asked at timestep index i; whatever a method does to it, it does here."""
        return nullcontext()

    def _look(self, i: int) -> Look:
        """One U-Net pass on the latent as it is now, shared by all who ask before it changes, gradients or not."""
        if self.seen is None:
            with torch.enable_grad():
                self.seen = self._predict(self.z, i, features=True)
        return self.seen

    def _features(self, i: int) -> Tensor:
        """Features (1, C, h', w') of z as it is now; where its noise isn't asked for, the pass ends behind them."""
        if self.seen is not None or self._asks_for_noise:
            features = self._look(i).features
            assert features is not None
            return features
        if self.glimpse is None:
            with torch.enable_grad(), self._steered(i):
                self.glimpse = self.backbone.features(self.z, self.timesteps[i])
        return self.glimpse

    @property
    def _asks_for_noise(self) -> bool:
        """Whether drags need the noise prediction beside the features."""
        return True

    def _forget(self) -> None:
        """z has changed: what the U-Net has said of it holds no longer."""
        self.seen = self.glimpse = None

    def _denoise(self, i: int) -> None:
        look = self.seen.eps.detach() if self.seen is not None else None
        self.z = self._denoised(self.z.detach(), i, plain=i == self.dragged_at, eps=look)
        self._forget()

    @torch.no_grad()
    def _denoised(self, z: Tensor, i: int, plain: bool, eps: Tensor | None = None) -> Tensor:
        """f(z): one DDIM step, with mutual self-attention where the method wants it."""
        borrows = self._borrows(plain)
        with self.backbone.borrowing(self.path.attention(i)) if borrows else nullcontext():
            if eps is None or borrows:
                eps = self._predict(z, i).eps
            eps = self._guided(z, eps, i)
        return self._next(z, eps, i)

    def _guided(self, z: Tensor, eps: Tensor, i: int) -> Tensor:
        """The noise prediction that a denoise step goes by."""
        return eps

    def _borrows(self, plain: bool) -> bool:
        """Whether a denoise step takes keys and values from the source; `plain`: it follows drags at its timestep."""
        return True

    def _next(self, z: Tensor, eps: Tensor, i: int) -> Tensor:
        """Where denoise step i leads to."""
        return self._ddim_step(z, eps, i)

    def _ddim_step(self, z: Tensor, eps: Tensor, i: int) -> Tensor:
        return ddim_step(z, eps, *self._levels(i))

    def _levels(self, i: int) -> tuple[float, float]:
        """ᾱ before and after denoise step i."""
        t = self.timesteps[i]
        return self.backbone.alpha_bar(t), self.backbone.alpha_bar(self.path.timeline.after(t))

    def _source(self, level: int) -> Tensor:
        """The unedited latent (1, C, h, w) at a noise level: level i is what z has before denoise step i."""
        return self.path.latents[level]

    def _measure(
        self, kind: type[Measured], i: int, losses: tuple[Tensor, Tensor] | None = None, **more: Any
    ) -> Measured:
        """Read everything off the device at once and make a step of it."""
        z = self.z.detach().clone()
        level = i + 1 if kind is Denoised else i  # index of the noise level that z is at
        change = perturbation(z, self._source(level), self.M)
        n = len(self.points.p)
        numbers = torch.cat([self.points.p.flatten(), self.drift, *(x.reshape(1) for x in (*change, *(losses or ())))])
        if not numbers[: 3 * n].isfinite().all():
            raise EditFailed("The edit's numbers broke down (NaN or infinite): lower latent_lr or beta.")
        read = numbers.cpu().double()
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
        return self._picture(predict_x0(z, self._predict(z, level).eps, self.backbone.alpha_bar(self.timesteps[level])))

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


class GradientEdit(Edit[G]):
    """An edit whose drags are gradient steps on z, then a search for the handles (paper, algorithm 1)."""

    def __init__(self, backbone: Backbone, task: DragTask, method: G, frame: Frame, path: SourcePath, adapter: Weights):
        super().__init__(backbone, task, method, frame, path, adapter)
        route, points = replace(self.route, ahead=method.beta), replace(self.points, reach=method.reach)
        self.route, self.points = route.after(points)
        if self.M is None and method.quirks.empty_mask_locks:
            self.M = torch.zeros_like(self.z[:, :1])
        self.stale: Tensor | None = None  # features from before the last gradient step
        self.losses: tuple[Tensor, Tensor] | None = None  # drag loss and weighted mask term of the last gradient step
        self.idle = 0  # drags in a row that moved no handle
        self.pulled = 0  # gradient steps of the drag under way

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
            self._supervise(i)
            yield Supervised(self.drags_done + 1, self.pulled, self.method.supervision_steps)
        moved = self._track(i)
        self.idle = 0 if moved else self.idle + 1
        self._count_drag()
        yield self._measure(Dragged, i, losses=self.losses, of=self.method.drags)

    def _count_drag(self) -> None:
        super()._count_drag()
        self.pulled = 0

    def _end_dragging(self) -> None:
        self.over = True
        self.taken += 1

    def _enter(self, i: int) -> None:
        """Begin to drag at a timestep: its latent gets an optimiser of its own."""
        self._forget()
        self.dragged_at, self.stale = i, None
        self.z = self.z.detach().requires_grad_()
        self.optimiser = torch.optim.Adam([self.z], lr=self.method.latent_lr)

    def _supervise(self, i: int) -> None:
        """One gradient step on z."""
        F = self._features(i)
        drag_loss, keep_loss = self._drag_loss(F, i), self._keep_loss(i)
        self.optimiser.zero_grad()
        (drag_loss + keep_loss).backward()
        self.optimiser.step()
        self._forget()
        self.stale = F.detach()
        self.losses = drag_loss.detach(), keep_loss.detach()
        self.pulled += 1

    def _drag_loss(self, F: Tensor, i: int) -> Tensor:
        """What pulls the handles."""
        method = self.method
        if method.quirks.border_fails:
            self._refuse_border(*self._patches())
        return method.loss(F, self.path.features(i), self.points, method.r1, method.beta, method.quirks.norm)

    def _keep_loss(self, i: int) -> Tensor:
        """λ times what holds the rest in place. Before the first step z is the source itself, so that this is 0."""
        if self.M is None or not self.method.mask_weight or not self.taken + self.pulled:
            return torch.zeros((), device=self.z.device)
        if self.method.mask_term == "latent":
            return self.method.mask_weight * mask_loss(self.z, self.path.latents[i], self.M)
        z_next = self._ddim_step(self.z, self._look(i).eps, i)
        return self.method.mask_weight * mask_loss(z_next, self.path.latents[i + 1], self.M)

    @property
    def _asks_for_noise(self) -> bool:
        return self.M is not None and self.method.mask_weight > 0 and self.method.mask_term == "stepped"

    def _track(self, i: int) -> bool:
        """Find the handles again; returns whether any has moved."""
        method = self.method
        F = self.stale if method.quirks.stale_tracking and self.stale is not None else self._features(i)
        if method.quirks.border_fails:
            self._refuse_border(self.points.p - method.r2)  # beyond the map's end that code cuts the window
        f0 = sample_cells(self.path.features(i), self.points.p0, self.frame.grid)
        p, self.drift = track_points(F.detach(), f0, self.points.p, method.r2, self.frame.grid)
        moved = bool((p != self.points.p).any())
        self.route, self.points = self.route.after(replace(self.points, p=p))
        return moved

    def _patches(self) -> tuple[Tensor, ...]:
        """First and last cells (n, 2) of what the published code cuts out for its loss.

        Ahead, that is one cell more than the patch: it blends four windows, also where one of them weighs nothing.
        """
        points, r1, far = self.points, self.method.r1, self.points.under_way
        reference = (points.p0 if self.method.supervision == "ipms" else points.p)[far]
        ahead = (points.p + step_vector(points, self.method.beta))[far].floor()
        return reference - r1, reference + r1, ahead - r1, ahead + 1 + r1

    def _refuse_border(self, *cells: Tensor) -> None:
        if not inside(torch.cat(cells), self.frame.grid).all():
            raise EditFailed(
                "A handle has come so near to the picture's border that the published code fails here (quirk Q8): "
                'use compat="paper", which cuts patches at the border.'
            )

    def _denoise(self, i: int) -> None:
        super()._denoise(i)
        self.stale = None

    def _next(self, z: Tensor, eps: Tensor, i: int) -> Tensor:
        """f(z); where the method wants that, inside the mask with fresh noise, and outside of it the source."""
        plain = super()._next(z, eps, i)
        if self.M is None:
            return plain
        free = self._renewed(z, eps, i) if self.method.eta and i + 1 < len(self.timesteps) else plain
        held = self.path.latents[i + 1] if self.method.hold_outside else plain
        return plain if free is held else self.M * free + (1 - self.M) * held

    def _renewed(self, z: Tensor, eps: Tensor, i: int) -> Tensor:
        """f(z) with fresh noise: the same in every preview."""
        chance = torch.Generator().manual_seed(self.method.seed * len(self.timesteps) + i)
        noise = torch.randn(z.shape, generator=chance).to(z)
        return renewing_step(z, eps, noise, *self._levels(i), self.method.eta)

    def _guided(self, z: Tensor, eps: Tensor, i: int) -> Tensor:
        """Further along what the prompt changes, inside the mask."""
        if self.method.guidance == 1:
            return eps
        with self._steered(i):
            wordless = self.backbone.unprompted.predict(z, self.timesteps[i]).eps
        followed = guided(eps, wordless, self.method.guidance)
        return followed if self.M is None else self.M * followed + (1 - self.M) * eps

    def _borrows(self, plain: bool) -> bool:
        return {"always": True, "after_drags": not plain, "off": False}[self.method.mutual_attention]


def perturbation(z: Tensor, source: Tensor, M: Tensor | None) -> tuple[Tensor, Tensor]:
    """RMS of edit minus source latent (1, C, h, w) inside and outside the mask; NaN where there is no such part."""
    square = (z - source).square().mean(1, keepdim=True)
    M = torch.ones_like(square) if M is None else M
    return tuple(((square * part).sum() / part.sum()).sqrt() for part in (M, 1 - M))  # type: ignore[return-value]
