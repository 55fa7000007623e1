"""Trains the network that reads a creature's pose (`pose.py`), on pictures that are blurred, noisy and patched up.

    python -m gooddrag.pocket.train_pose [--steps 6000]

Edited pictures are never quite clean; a reader that has only seen clean ones would make poses up.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn.functional import avg_pool2d, cross_entropy, interpolate, smooth_l1_loss

from gooddrag.files import write_whole
from gooddrag.pocket import WEIGHTS
from gooddrag.pocket.codec import to_tensor
from gooddrag.pocket.pose import PoseNet, shape_vector
from gooddrag.pocket.train import TrainSettings, render_world, scene_number, warm_then_cool
from gooddrag.pocket.world import BACKGROUNDS, SPECIES, sample_scene

BATCH = 64


def answers(count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Shape (N, 8), species (N,) and background (N,) of the world's first scenes."""
    scenes = [sample_scene(scene_number(k)) for k in range(count)]
    shape = torch.from_numpy(np.stack([shape_vector(s) for s in scenes])).float()
    species = torch.tensor([list(SPECIES).index(s.species) for s in scenes])
    return shape, species, torch.tensor([list(BACKGROUNDS).index(s.background) for s in scenes])


def spoil(images: Tensor, chance: torch.Generator) -> Tensor:
    """Blur some pictures, add noise to all, and cover a square of each with another picture's: (B, 3, H, W)."""
    n, _, height, width = images.shape
    soft = interpolate(avg_pool2d(images, 2), (height, width), mode="bilinear")
    images = images.lerp(soft, torch.rand(n, 1, 1, 1, generator=chance))
    strength = torch.rand(n, 1, 1, 1, generator=chance) ** 2 * 0.25
    images = images + strength * torch.randn(images.shape, generator=chance)
    corner = torch.rand(n, 2, generator=chance) * height
    side = torch.rand(n, generator=chance) ** 2 * height / 2
    rows, columns = torch.arange(height), torch.arange(width)
    covered = ((rows - corner[:, :1]).abs() < side[:, None] / 2)[:, None, :, None] & (
        (columns - corner[:, 1:]).abs() < side[:, None] / 2
    )[:, None, None]
    return torch.where(covered, images.roll(1, 0), images)


def iter_training(folder: Path, steps: int, seed: int = 0) -> Iterator[tuple[int, float, PoseNet]]:
    """Train for so many steps; yields step, loss and the network. The learning rate falls to 0 in the second half."""
    torch.manual_seed(seed)
    chance = torch.Generator().manual_seed(seed)
    settings = TrainSettings()
    pictures, (shape, species, background) = render_world(folder, settings), answers(settings.world)
    net = PoseNet()
    optimiser = torch.optim.AdamW(net.parameters(), 2e-3, weight_decay=0.02)
    for step in range(steps):
        rows = torch.randint(len(pictures), (BATCH,), generator=chance).sort().values
        images, goal = to_tensor(pictures[rows.numpy()]), shape[rows]
        found, kinds, backgrounds = net(spoil(images, chance))
        loss = smooth_l1_loss(found, goal, beta=0.1) * 10
        loss = loss + 0.1 * (cross_entropy(kinds, species[rows]) + cross_entropy(backgrounds, background[rows]))
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        warm_then_cool(optimiser, step, steps)
        optimiser.step()
        yield step + 1, loss.item(), net


def main() -> None:
    """Train and write `weights/pose.safetensors`."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--steps", type=int, default=6000)
    arguments.add_argument("--folder", type=Path, default=Path("runs/pocket"))
    arguments.add_argument("--out", type=Path, default=WEIGHTS / "pose.safetensors")
    chosen = arguments.parse_args()
    losses: list[float] = []
    net = PoseNet()
    for step, loss, net in iter_training(chosen.folder, chosen.steps):  # noqa: B007 - the last one is what we want
        losses.append(loss)
        if step % 200 == 0:
            print(f"step {step}  loss {np.mean(losses):.4f}", flush=True)
            losses.clear()
    half = {name: value.half().contiguous() for name, value in net.state_dict().items()}
    write_whole(chosen.out, lambda part: save_file(half, part))


if __name__ == "__main__":
    main()
