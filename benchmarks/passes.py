"""What makes a pass through the U-Net faster? Batches, compilation, memory layout: each against plain single passes.

    python benchmarks/passes.py [--backbone pocket] [--side 64] [--batches 2 4 8] [--repeats 5] [--no-compile]

A drag is a pass with gradients to the latent, a denoise step one without. Each way and the plain one run alternately,
and the ratio says how much faster a picture is done (median). A batch has a ratio of 1 where the device is busy with
one picture already; then it only takes more memory. Several pictures would have an identity adapter each, and several
can't be folded into the weights for nothing, as one can. `torch.compile` needs a C++ compiler, and minutes per shape.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from gooddrag.backbone import Backbone, load_backbone
from gooddrag.doctor import device_name, versions
from gooddrag.speed import wait_for

T = 501  # any timestep costs the same
Pass = Callable[[Backbone, torch.Tensor], None]


def drag(backbone: Backbone, z: torch.Tensor) -> None:
    z = z.detach().requires_grad_()
    look = backbone.predict(z, T, features=True)
    assert look.features is not None
    (look.features.square().sum() + look.eps.square().sum()).backward()


@torch.no_grad()
def denoise(backbone: Backbone, z: torch.Tensor) -> None:
    backbone.predict(z, T)


PASSES: dict[str, Pass] = {"drag": drag, "denoise": denoise}


def seconds(work: Callable[[], None], device: torch.device, times: int = 15) -> float:
    """Mean time of the work, after once to warm up."""
    work()
    wait_for(device)
    began = time.perf_counter()
    for _ in range(times):
        work()
    wait_for(device)
    return (time.perf_counter() - began) / times


def gain(new: Callable[[], None], plain: Callable[[], None], device: torch.device, repeats: int) -> float:
    """How many times faster the new way is: the median of alternating runs, after one of each to warm up."""

    def ratio() -> float:
        return seconds(plain, device, times=1) / seconds(new, device, times=1)

    return statistics.median(ratio() for _ in range(repeats))


def in_a_batch(backbone: Backbone, z: torch.Tensor, repeats: int) -> dict[str, float]:
    """A batch z (B, C, h, w) against its pictures one by one."""

    def one_by_one(one_pass: Pass) -> None:
        for single in z.split(1):
            one_pass(backbone, single)

    return {
        name: gain(lambda p=p: p(backbone, z), lambda p=p: one_by_one(p), z.device, repeats)
        for name, p in PASSES.items()
    }


def with_other_unet(backbone: Backbone, unet: Any, z: torch.Tensor, repeats: int) -> dict[str, float]:
    """The same model in another form, against the plain one, on one picture."""
    other = replace(backbone, unet=unet)
    return {
        name: gain(lambda p=p: p(other, z), lambda p=p: p(backbone, z), z.device, repeats) for name, p in PASSES.items()
    }


def told(title: str, found: dict[str, float]) -> None:
    print(f"{title}: " + ", ".join(f"{name} {ratio:.2f} ×" for name, ratio in found.items()), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", default="pocket")
    parser.add_argument("--side", type=int, default=64, help="of the pictures, px")
    parser.add_argument("--batches", type=int, nargs="+", default=[2, 4, 8])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--no-compile", action="store_true")
    chosen = parser.parse_args()
    backbone = load_backbone(chosen.backbone)
    cells = chosen.side // backbone.latent_scale

    def latents(batch: int) -> torch.Tensor:
        shape = (batch, backbone.unet.config["in_channels"], cells, cells)
        return torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(backbone.device)

    print(f"{backbone.name}, {device_name(backbone.device.type)}, {torch.get_num_threads()} threads, {versions()}")
    for name, work in PASSES.items():
        print(f"{name}, alone: {1000 * seconds(lambda w=work: w(backbone, latents(1)), backbone.device):.0f} ms")
    for size in chosen.batches:
        told(f"batch of {size}", in_a_batch(backbone, latents(size), chosen.repeats))
    rows = load_backbone(chosen.backbone).unet.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    told("channels first", with_other_unet(backbone, rows, latents(1), chosen.repeats))
    if not chosen.no_compile:
        compiled = torch.compile(load_backbone(chosen.backbone).unet)
        told("compiled", with_other_unet(backbone, compiled, latents(1), chosen.repeats))


if __name__ == "__main__":
    main()
