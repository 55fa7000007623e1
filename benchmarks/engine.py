"""How much faster is the engine than GoodDrag taken literally, and than the published code's way of working?

    python benchmarks/engine.py [--model pocket|sd|sd15] [--device cpu|cuda] [--drags 20] [--repeats 3]

All run the same edit on the same weights in one process, in turn: inversion, source path, drags, denoising, with an
adapter that is there already.
The literal algorithm (tests/reference) is the paper's; `published.py` spends what the published code does. Each is
compared with the mode of the engine that gives its results. Prints a line for each with medians: seconds, ratio, the
largest difference of the final latents, and the share of the engine's time inside the U-Net, forwards and backwards.

"sd" is Stable Diffusion 1.5 with random weights at half its width, on a picture of 256 px. Enlarged maps weigh twice as
much there as at full width, since a map grows with the width and the U-Net's work with its square. "sd15" is the whole
model on a picture of 512 px: for a GPU. There, too, all is float32, without the shortened TF32.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from diffusers import DDIMScheduler, UNet2DConditionModel

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.published import on_grids, published_edit, some_adapter, unfrozen
from gooddrag.adapter import Weights, folded
from gooddrag.architectures import ARCHITECTURES, Architecture, vae_config
from gooddrag.backbone import Backbone, VaeCodec, load_backbone
from gooddrag.doctor import device_name, versions
from gooddrag.editor import iter_edit
from gooddrag.methods import GoodDrag
from gooddrag.speed import shipped_task, wait_for
from gooddrag.steps import Denoised
from gooddrag.task import DragTask
from tests.reference.literal import literal_edit

PER_DENOISE = 5
# An arrival, or a picture where nothing moves, would end the drags early; with these all do the same number of them.
# Fresh noise is pocket's own, and the literal algorithm has none. The learning rate is low, as Adam makes steps of
# rounding errors where a gradient is almost zero.
SAME: dict[str, Any] = {
    "per_denoise": PER_DENOISE, "lora": None, "reach": 0.01, "patience": 10_000, "eta": 0.0, "latent_lr": 0.002,
}  # fmt: skip


class Mark(torch.autograd.Function):
    """Passes a tensor through and calls back when its gradient comes by."""

    @staticmethod
    def forward(ctx, x, callback):
        ctx.callback = callback
        return x.view_as(x)

    @staticmethod
    def backward(ctx, grad):  # type: ignore[override]
        ctx.callback()
        return grad, None


@contextmanager
def unet_clock() -> Iterator[list[float]]:
    """Collects the seconds that each U-Net pass takes, forwards and backwards, while the block runs."""
    seconds: list[float] = []
    asked = {name: getattr(Backbone, name) for name in ("predict", "features")}
    for name, plain in asked.items():
        setattr(Backbone, name, clocked(plain, seconds))
    try:
        yield seconds
    finally:
        for name, plain in asked.items():
            setattr(Backbone, name, plain)


def clocked(plain: Callable[..., Any], seconds: list[float]) -> Callable[..., Any]:
    """A question to the U-Net that notes its time: when it is answered, and when gradients have passed through."""

    def timed(self: Backbone, z: torch.Tensor, *how: Any, **more: Any) -> Any:
        def now() -> float:
            wait_for(self.device)
            return time.perf_counter()

        began, entered = now(), [0.0]
        if not (z.requires_grad and torch.is_grad_enabled()):
            answer = plain(self, z, *how, **more)
            seconds.append(now() - began)
            return answer

        def enter() -> None:
            entered[0] = now()

        answer = plain(self, Mark.apply(z, lambda: seconds.append(now() - entered[0])), *how, **more)
        seconds.append(now() - began)
        if isinstance(answer, torch.Tensor):
            return Mark.apply(answer, enter)
        return replace(answer, **{n: Mark.apply(x, enter) for n, x in vars(answer).items() if x is not None})

    return timed


def pocket(drags: int, device: str) -> tuple[Backbone, DragTask, GoodDrag]:
    return load_backbone("pocket", device=device), shipped_task(), GoodDrag.for_pocket(drags=drags, **SAME)


def half_sd15(drags: int, device: str) -> tuple[Backbone, DragTask, GoodDrag]:
    """The U-Net at half its width, between a narrow autoencoder; a quarter of the timesteps, to go with fewer drags."""
    full = ARCHITECTURES["sd15"]
    widths = [width // 2 for width in full.unet["block_out_channels"]]
    narrow = vae_config((32, 32, 32, 32), 1, 4, 0.18215, 256)
    half = Architecture("sd", full.unet | {"block_out_channels": widths}, narrow, ())
    return at_random(half, device), shipped_task(256), GoodDrag(drags=drags, steps=12, **SAME)


def sd15(drags: int, device: str) -> tuple[Backbone, DragTask, GoodDrag]:
    """The whole model; a quarter of the timesteps, to go with fewer drags."""
    return at_random(ARCHITECTURES["sd15"], device), shipped_task(512), GoodDrag(drags=drags, steps=12, **SAME)


def at_random(architecture: Architecture, device: str) -> Backbone:
    """An engine of Stable Diffusion's kind with random weights."""
    torch.manual_seed(0)
    unet, scheduler = architecture.build_unet(), DDIMScheduler(**ARCHITECTURES["sd15"].scheduler)
    assert isinstance(unet, UNet2DConditionModel)
    return Backbone(
        name="sd",
        unet=unet.to(device=device, memory_format=torch.channels_last),  # type: ignore[arg-type]
        codec=VaeCodec(architecture.build_vae().requires_grad_(False).eval().to(device)),
        context=torch.randn(1, 77, architecture.unet["cross_attention_dim"]).to(device),
        alphas=tuple(scheduler.alphas_cumprod.double().tolist()),
        prediction="epsilon",
        latent_scale=8,
        image_multiple=8,
    )


def ours(backbone: Backbone, task: DragTask, method: GoodDrag, adapter: Weights) -> torch.Tensor:
    """The engine's final latent (1, C, h, w)."""
    with folded(backbone.unet, adapter, 1.0):
        steps = [step for step in iter_edit(backbone, task, method, use_cache=False) if isinstance(step, Denoised)]
    return steps[-1].latent


def literally(backbone: Backbone, task: DragTask, method: GoodDrag, adapter: Weights) -> torch.Tensor:
    """The literal algorithm's."""
    z0, handles, targets, mask, settings = on_grids(backbone, task, method)
    with folded(backbone.unet, adapter, 1.0), unfrozen(backbone.unet):
        result = literal_edit(
            backbone.unet, backbone.context, backbone.alphas, z0, handles, targets, mask, settings,
            feature_block=len(backbone.unet.up_blocks) - 2, prediction_type=backbone.prediction,
        )  # fmt: skip
    return result.final


MODELS = {"pocket": (pocket, 20), "sd": (half_sd15, 10), "sd15": (sd15, 10)}  # what makes them, and how many drags
RIVALS = {"literal": (literally, "paper"), "published": (published_edit, "official")}  # and the engine's mode for each


def compare(
    rival: Callable[..., torch.Tensor], backbone: Backbone, task: DragTask, method: GoodDrag, adapter: Weights
) -> list[float]:
    """Seconds of the engine and of the rival, share inside the U-Net, largest difference of the final latents."""
    began = time.perf_counter()
    with unet_clock() as inside:
        z = ours(backbone, task, method, adapter)
    wait_for(backbone.device)
    engine = time.perf_counter() - began
    began = time.perf_counter()
    other = rival(backbone, task, method, adapter)
    backbone.decode(other)  # as the engine does
    wait_for(backbone.device)
    return [engine, time.perf_counter() - began, sum(inside) / engine, (z - other).abs().max().item()]


def line(name: str, runs: list[list[float]]) -> str:
    """One row of the table that is printed."""
    engine, other, share, apart = (list(values) for values in zip(*runs, strict=True))
    ratios = [b / a for a, b in zip(engine, other, strict=True)]
    middle = [statistics.median(values) for values in (engine, other, ratios, share)]
    return (
        f"{name:10} {middle[0]:8.2f} s {middle[1]:8.2f} s {middle[2]:7.2f} × ({min(ratios):.2f} to {max(ratios):.2f})"
        f" {middle[3]:8.1%} {max(apart):10.1e}"
    )


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--repeats", type=int, default=3)
    arguments.add_argument("--drags", type=int, help=f"rounded up to a multiple of {PER_DENOISE}")
    arguments.add_argument("--model", choices=MODELS, default="pocket")
    arguments.add_argument("--device", default="cpu")
    chosen = arguments.parse_args()
    torch.backends.cudnn.allow_tf32 = False
    make, usual = MODELS[chosen.model]
    backbone, task, method = make(-(-(chosen.drags or usual) // PER_DENOISE) * PER_DENOISE, chosen.device)
    adapter = some_adapter(backbone.unet)
    runs: dict[str, list[list[float]]] = {name: [] for name in RIVALS}
    for _ in range(chosen.repeats):
        for name, (rival, compat) in RIVALS.items():
            runs[name].append(compare(rival, backbone, task, method.with_settings(compat=compat), adapter))
    print(f"{chosen.model}, {task.size[0]} px, {method.drags} drags, J = {method.supervision_steps}, float32")
    machine = f"{device_name(backbone.device.type)}, {torch.get_num_threads()} threads"
    print(f"{versions()}; {machine}; medians of {chosen.repeats}")
    print(f"{'against':10} {'engine':>10} {'it':>10} {'ratio':>9} {'(least to most)':16} {'U-Net':>8} {'apart':>10}")
    for name, measured in runs.items():
        print(line(name, measured))


if __name__ == "__main__":
    main()
