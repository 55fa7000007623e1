"""GoodDrag at the published code's price: its way of working, as far as it costs time, with the engine's results.

`published_edit` gives the latents of the engine with `compat="official"`, whose quirks (Q1 … in docs/compat.md) it
shares; `engine.py` holds the two side by side. Re-created of what the published code spends:

- The U-Net's weights collect gradients at each inner step; they are added up and never used. Numbers lie in memory
  as torch has them by itself, channel by channel.
- The identity adapter's projections (rank 16) are layers of their own beside the attention's, in each pass.
- A pass of a drag collects the feature maps of the middle block and of all decoder blocks. The wanted one is enlarged
  bilinearly to half the picture's size, 16 cells for each one it has; so are the source's.
- The source's enlarged maps and latents lie on the host and are copied to the device at each inner step. Where the host
  is the device, that is a copy from main memory to main memory.
- Losses and tracking work on enlarged maps, one handle after the other in a Python loop that reads numbers off the
  device as it goes: distances, positions, the loss, the best place in the window.
- The source is denoised once for what drags compare with, and once more beside the edit, in one batch of two at every
  denoise step; mutual attention acts inside that batch.

Not re-created, so that the published code may well cost more (+) or less (−) than this:

- (−) Half precision in drags and denoising, with a scaler for the gradients: a GPU's affair, and not exact.
- (+) Its releases of torch and diffusers, with attention that writes out its matrices where it is mutual: both sides
  use today's libraries and the same fused kernels.
- (+) Pictures and films on the way.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from typing import Any, NamedTuple

import torch
from peft import LoraConfig
from torch import Tensor, nn
from torch.nn.functional import interpolate

from gooddrag.backbone import Backbone
from gooddrag.features import Frame
from gooddrag.lora import ADAPTER, TARGETS, Weights
from gooddrag.methods import GoodDrag
from gooddrag.task import DragTask
from tests.reference.literal import (
    GRID,
    OFFICIAL_LOSS_THRESHOLD,
    DragState,
    LiteralSettings,
    all_reached,
    ddim_step,
    drag_loss,
    gradient_step,
    invert,
    keep_area,
    live_timesteps,
    mask_loss,
    new_adam,
    timestep_stride,
)


class Given(NamedTuple):
    """A task on the grids: latent (1, C, h, w), points (n, 2) as (row, col) feature cells, mask (1, 1, h, w)."""

    z0: Tensor
    handles: Tensor
    targets: Tensor
    mask: Tensor | None
    settings: LiteralSettings


def on_grids(backbone: Backbone, task: DragTask, method: GoodDrag) -> Given:
    """What the literal algorithm and the published way of working begin with."""
    frame = Frame.fit(
        task.size, backbone.latent_scale, backbone.image_multiple, backbone.working_side, official=method.official
    )
    z0 = backbone.encode(frame.to_tensor(task.image))
    mask = None if task.mask is None else frame.to_latent_mask(task.mask, (z0.shape[2], z0.shape[3])).to(z0)
    handles, targets = (frame.to_cells(points).flip(1).to(z0) for points in (task.handles, task.targets))
    settings = LiteralSettings(
        steps=method.steps, strength=method.strength, t2=-(-method.drags // method.per_denoise),
        per_denoise=method.per_denoise, J=method.supervision_steps, r1=method.r1, r2=method.r2, beta=method.beta,
        lr=method.latent_lr, lam=method.mask_weight, reach=method.reach, compat=method.compat,
        max_unchanged=method.patience or method.quirks.patience,
    )  # fmt: skip
    return Given(z0, handles, targets, mask, settings)


@contextmanager
def unfrozen(unet: nn.Module) -> Iterator[None]:
    """The weights collect gradients while the block runs."""
    unet.requires_grad_(True)
    try:
        yield
    finally:
        unet.requires_grad_(False)
        unet.zero_grad()


@contextmanager
def channel_by_channel(unet: nn.Module) -> Iterator[None]:
    """The weights lie in memory as torch has them by itself while the block runs; then as the engine has them."""
    unet.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    try:
        yield
    finally:
        unet.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


@contextmanager
def layered(unet: Any, adapter: Weights) -> Iterator[None]:
    """The adapter as layers of its own while the block runs, not folded into the weights."""
    rank = next(iter(adapter.values())).shape[0]
    unet.add_adapter(LoraConfig(r=rank, lora_alpha=rank, target_modules=list(TARGETS)), adapter_name=ADAPTER)
    parts = {"down": f"lora_A.{ADAPTER}.weight", "up": f"lora_B.{ADAPTER}.weight"}
    try:
        for name, value in adapter.items():
            module, _, part = name.rpartition(".")
            unet.get_parameter(f"{module}.{parts[part]}").data.copy_(value)
        yield
    finally:
        unet.unload_lora()


def some_adapter(unet: nn.Module, rank: int = 16) -> Weights:
    """An adapter with small random weights, as one that has learned something."""
    chance, weights = torch.Generator().manual_seed(0), {}
    for name, module in unet.named_modules():
        if isinstance(module, nn.Linear) and name.endswith(TARGETS):
            sides = {"down": (rank, module.in_features), "up": (module.out_features, rank)}
            made = {part: 0.02 * torch.randn(shape, generator=chance) for part, shape in sides.items()}
            weights |= {f"{name}.{part}": value.to(module.weight) for part, value in made.items()}
    return weights


def published_edit(backbone: Backbone, task: DragTask, method: GoodDrag, adapter: Weights) -> Tensor:
    """The final latent (1, C, h, w) of an edit with an adapter; `method` counts as compat="official".

    The number of drags must be a multiple of those before each denoise step.
    """
    given, unet = on_grids(backbone, task, method.with_settings(compat="official")), backbone.unet
    with channel_by_channel(unet), layered(unet, adapter), unfrozen(unet):
        return PublishedEdit(backbone, given).run()


class PublishedEdit:
    """One edit under way; maps are enlarged ones (1, C, 4h, 4w)."""

    def __init__(self, backbone: Backbone, given: Given):
        self.backbone, self.given, self.settings = backbone, given, given.settings
        self.live = live_timesteps(self.settings.steps, self.settings.strength)
        keep = keep_area(given.mask, given.z0, "official")
        assert keep is not None  # without a mask, all is kept
        self.keep = keep
        self.state = DragState(points=given.handles.clone())
        self.host: dict[int, tuple[Tensor, Tensor]] = {}  # by timestep: the source's map, and its latent one step on

    def run(self) -> Tensor:
        s, state, borrow = self.settings, self.state, False
        z = ref = self._invert()
        self._remember_source(z)
        for i, t in enumerate(self.live):
            if i < s.t2 and state.dragging and state.unchanged != s.max_unchanged:
                z = self._drag(z, t)
            else:
                borrow = True
            ref, z = self._denoise(ref, z, t, borrow)
        return z

    @torch.no_grad()
    def _invert(self) -> Tensor:
        stride = timestep_stride(self.settings.steps)
        return invert(
            lambda z, t: self.backbone.predict(z, t).eps, self.given.z0, self.live, self.backbone.alphas, stride
        )

    @torch.no_grad()
    def _remember_source(self, z: Tensor) -> None:
        """Denoise the inverted latent through all timesteps with drags and one more, and keep it on the host."""
        for t in self.live[: self.settings.t2 + 1]:
            eps, F = self._look(z, t)
            z = self._step(eps, t, z)
            self.host[t] = (F.to("cpu", copy=True), z.to("cpu", copy=True))

    def _look(self, z: Tensor, t: int) -> tuple[Tensor, Tensor]:
        """One pass: the noise, and the enlarged map of the last decoder block but one."""
        unet: Any = self.backbone.unet
        with outputs_of([unet.mid_block, *unet.up_blocks]) as maps:
            eps = self.backbone.predict(z, t).eps
        size = (GRID * z.shape[2], GRID * z.shape[3])
        return eps, interpolate(maps[-2].to(z.dtype), size=size, mode="bilinear", align_corners=False)

    def _step(self, eps: Tensor, t: int, z: Tensor) -> Tensor:
        return ddim_step(eps, t, z, self.backbone.alphas, timestep_stride(self.settings.steps))

    def _drag(self, z: Tensor, t: int) -> Tensor:
        """All drags of one timestep; returns the latent they lead to."""
        s, state = self.settings, self.state
        L = z.detach().clone().requires_grad_()
        adam, first, made, since = new_adam(L, s.lr), True, 0, 0
        while made < s.per_denoise:
            eps, F = self._look(L, t)
            F_src, prev_src = (x.to(L.device, copy=True) for x in self.host[t])
            if first:
                state.points, first = self._find(F_src, F), False
            if all_reached(state.points, self.given.targets, s.reach) or state.unchanged == s.max_unchanged:
                state.dragging = False
                break
            drag = drag_loss(F_src, F, state.points, self.given.handles, self.given.targets, s)
            gradient_step(L, adam, drag + s.lam * mask_loss(self._step(eps, t, L), prev_src, self.keep))
            since += 1
            if since == s.J or drag.item() <= OFFICIAL_LOSS_THRESHOLD * (2 * s.r1) ** 2:
                before, state.points = state.points, self._find(F_src, F)
                state.unchanged = 0 if bool((state.points != before).any()) else state.unchanged + 1
                made, since = made + 1, 0
        return L.detach()

    @torch.no_grad()
    def _find(self, F_src: Tensor, F: Tensor) -> Tensor:
        """Where each handle's original features are now (n, 2), looked for around where it was last."""
        r2, found = self.settings.r2, self.state.points.clone()
        for k, (p0, p) in enumerate(zip(self.given.handles, self.state.points, strict=True)):
            f0 = F_src[0, :, int(p0[0]), int(p0[1])]
            row, col = int(p[0]), int(p[1])
            nearby = F[0, :, row - r2 : row + r2 + 1, col - r2 : col + r2 + 1]
            apart = (nearby - f0[:, None, None]).abs().sum(0)
            down, right = divmod(int(apart.argmin()), apart.shape[1])
            found[k, 0], found[k, 1] = row - r2 + down, col - r2 + right
        return found

    @torch.no_grad()
    def _denoise(self, ref: Tensor, z: Tensor, t: int, borrow: bool) -> tuple[Tensor, Tensor]:
        """One denoise step of source and edit together."""
        with first_answers(self.backbone.late_self_attention) if borrow else nullcontext():
            eps = self.backbone.predict(torch.cat([ref, z]), t).eps
        return self._step(eps[:1], t, ref), self._step(eps[1:], t, z)


@contextmanager
def outputs_of(blocks: Sequence[nn.Module]) -> Iterator[list[Tensor]]:
    """Collect what the blocks give, in the order in which they run."""
    outputs: list[Tensor] = []
    with ExitStack() as hooks:
        for block in blocks:
            hooks.callback(block.register_forward_hook(lambda *seen: outputs.append(seen[2])).remove)
        yield outputs


@contextmanager
def first_answers(layers: Sequence[nn.Module]) -> Iterator[None]:
    """Let all elements of a batch take keys and values from its first one, in these self-attention layers."""

    def borrow(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        tokens = args[0] if args else kwargs["hidden_states"]
        return args, {**kwargs, "encoder_hidden_states": tokens[:1].expand_as(tokens)}

    with ExitStack() as hooks:
        for layer in layers:
            hooks.callback(layer.register_forward_pre_hook(borrow, with_kwargs=True).remove)
        yield
