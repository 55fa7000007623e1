"""Would it pay to edit several pictures at once? Passes through the U-Net in batches, against one by one.

    python benchmarks/batching.py [--backbone pocket] [--side 64] [--batches 2 4 8] [--repeats 5]

A drag is a pass with gradients to the latent, a denoise step one without. Both are run alternately, a batch and as many
single passes; the ratio says how much faster a picture of the batch is done. Around 1 means that the device is busy
with one picture already, and then a batch only takes more memory. An identity adapter per picture would lower it: one
that is folded into the weights costs nothing, several at once can't be folded.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from gooddrag.backbone import Backbone, load_backbone
from gooddrag.doctor import device_name, versions
from gooddrag.speed import wait_for

T = 501  # any timestep costs the same


def drag(backbone: Backbone, z: torch.Tensor) -> None:
    z = z.detach().requires_grad_()
    backbone.features(z, T).square().sum().backward()


@torch.no_grad()
def denoise(backbone: Backbone, z: torch.Tensor) -> None:
    backbone.predict(z, T)


def seconds(backbone: Backbone, work: Callable[[], None]) -> float:
    began = time.perf_counter()
    work()
    wait_for(backbone.device)
    return time.perf_counter() - began


def gain(backbone: Backbone, one_pass: Callable, z: torch.Tensor, repeats: int) -> float:
    """How many times faster a picture is done in a batch z (B, C, h, w) than alone: median of alternating runs."""

    def together() -> None:
        one_pass(backbone, z)

    def alone() -> None:
        for single in z.split(1):
            one_pass(backbone, single)

    together()  # the first pass of a shape is slow
    return statistics.median(seconds(backbone, alone) / seconds(backbone, together) for _ in range(repeats))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", default="pocket")
    parser.add_argument("--side", type=int, default=64, help="of the pictures, px")
    parser.add_argument("--batches", type=int, nargs="+", default=[2, 4, 8])
    parser.add_argument("--repeats", type=int, default=5)
    chosen = parser.parse_args()
    backbone = load_backbone(chosen.backbone)
    cells = chosen.side // backbone.latent_scale
    print(f"{backbone.name}, {device_name(backbone.device.type)}, {torch.get_num_threads()} threads, {versions()}")
    for size in chosen.batches:
        shape = (size, backbone.unet.config["in_channels"], cells, cells)
        z = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(backbone.device)
        found = {name: gain(backbone, work, z, chosen.repeats) for name, work in (("drag", drag), ("denoise", denoise))}
        print(f"batch of {size}: " + ", ".join(f"{name} {ratio:.2f} ×" for name, ratio in found.items()))


if __name__ == "__main__":
    main()
