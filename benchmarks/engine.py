"""How much faster is the engine than the algorithm taken literally, and where does its time go?

    python benchmarks/engine.py [--repeats 3] [--drags 20]

Both run the same edit on the same weights in one process, in turn: inversion, source path, drags, denoising, no LoRA.
The literal one does as the published code does: weights that collect gradients nobody uses, feature maps enlarged to
full size, source and edit in one batch. Prints the ratio of the times, the largest difference of the results, and the
share of the engine's time that is spent inside the U-Net, forwards and backwards.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from gooddrag.backbone import Backbone, Look, load_backbone
from gooddrag.editor import iter_edit
from gooddrag.features import Frame
from gooddrag.methods import GoodDrag
from gooddrag.pocket import EXAMPLES
from gooddrag.steps import Denoised, Dragged
from gooddrag.task import DragTask
from tests.reference.literal import LiteralSettings, literal_edit


class Mark(torch.autograd.Function):
    """Passes a tensor through and calls back when its gradient comes by."""

    @staticmethod
    def forward(ctx, x, callback):
        ctx.callback = callback
        return x.view_as(x)

    @staticmethod
    def backward(ctx, grad):
        ctx.callback()
        return grad, None


@contextmanager
def unet_clock() -> Iterator[list[float]]:
    """Collects the seconds that each U-Net pass takes, forwards and backwards, while the block runs."""
    seconds: list[float] = []
    plain = Backbone.predict

    def timed(self: Backbone, z: torch.Tensor, t: int, features: bool = False) -> Look:
        began, entered = time.perf_counter(), [0.0]
        graph = z.requires_grad and torch.is_grad_enabled()
        inner = Mark.apply(z, lambda: seconds.append(time.perf_counter() - entered[0])) if graph else z
        look = plain(self, inner, t, features)
        seconds.append(time.perf_counter() - began)
        if not graph:
            return look

        def enter() -> None:
            entered[0] = time.perf_counter()

        return Look(Mark.apply(look.eps, enter), Mark.apply(look.features, enter))

    Backbone.predict = timed  # type: ignore[method-assign]
    try:
        yield seconds
    finally:
        Backbone.predict = plain  # type: ignore[method-assign]


def ours(backbone: Backbone, task: DragTask, method: GoodDrag) -> tuple[torch.Tensor, int]:
    steps = [s for s in iter_edit(backbone, task, method, use_cache=False) if isinstance(s, Dragged | Denoised)]
    return steps[-1].latent, sum(isinstance(s, Dragged) for s in steps)


def literally(backbone: Backbone, task: DragTask, method: GoodDrag) -> torch.Tensor:
    frame = Frame.fit(task.size, backbone.latent_scale, backbone.image_multiple, backbone.working_side)
    z0 = backbone.encode(frame.to_tensor(task.image))
    assert task.mask is not None
    M = frame.to_latent_mask(task.mask, (z0.shape[2], z0.shape[3]))
    handles, targets = (frame.to_cells(p).flip(1).to(z0) for p in (task.handles, task.targets))
    settings = LiteralSettings(
        steps=method.steps, strength=method.strength, t2=-(-method.drags // method.per_denoise),
        per_denoise=method.per_denoise, J=method.supervision_steps, r1=method.r1, r2=method.r2, beta=method.beta,
        lr=method.latent_lr, lam=method.mask_weight, reach=method.reach,
    )  # fmt: skip
    backbone.unet.requires_grad_(True)
    try:
        result = literal_edit(
            backbone.unet,
            backbone.context,
            backbone.alphas,
            z0,
            handles,
            targets,
            M,
            settings,
            prediction_type=backbone.prediction,
        )
    finally:
        backbone.unet.requires_grad_(False)
        backbone.unet.zero_grad()
    assert result.final is not None
    return result.final


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--repeats", type=int, default=3)
    arguments.add_argument("--drags", type=int, default=20)
    chosen = arguments.parse_args()
    backbone = load_backbone("pocket", device="cpu")
    task = DragTask.read(EXAMPLES / "move-3")
    # An arrival would end the drags early; this one lets nobody arrive, so both do the same number of them.
    method = GoodDrag.for_pocket(drags=chosen.drags, lora=None, reach=0.01, latent_lr=0.002)
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, pocket, {chosen.drags} drags, J = 3, no LoRA")
    engine, literal, shares, largest = [], [], [], 0.0
    for _ in range(chosen.repeats):
        began = time.perf_counter()
        with unet_clock() as seconds:
            z, drags = ours(backbone, task, method)
        engine.append(time.perf_counter() - began)
        shares.append(sum(seconds) / engine[-1])
        began = time.perf_counter()
        reference = literally(backbone, task, method)
        literal.append(time.perf_counter() - began)
        largest = max(largest, (z - reference).abs().max().item())
    ratios = [b / a for a, b in zip(engine, literal, strict=True)]
    print(f"engine   {statistics.median(engine):7.2f} s  (median of {chosen.repeats}; {drags} drags done)")
    print(f"literal  {statistics.median(literal):7.2f} s")
    print(f"ratio    {statistics.median(ratios):7.2f} × (from {min(ratios):.2f} to {max(ratios):.2f})")
    print(f"U-Net    {statistics.median(shares):7.1%} of the engine's time")
    print(f"largest difference of the final latents: {largest:.1e}")


if __name__ == "__main__":
    main()
