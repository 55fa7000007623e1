"""Trains the network that guesses what the codec's components leave out of a picture (`codec.Detail`).

    python -m gooddrag.pocket.train_detail [--steps 2500]

It belongs to one codec: one that was fitted anew wants another one.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn.functional import mse_loss

from gooddrag.pocket import WEIGHTS
from gooddrag.pocket.codec import Detail, PatchCodec, to_tensor
from gooddrag.pocket.train import TrainSettings, render_world, warm_then_cool

BATCH = 32
ROUGHNESS = 0.05  # of the latents, at most: what edits end with is never quite clean


def iter_training(
    codec: PatchCodec, pictures: np.ndarray, steps: int, seed: int = 0
) -> Iterator[tuple[int, float, PatchCodec]]:
    """Train for so many steps on pictures (N, H, W, 3), uint8; yields step, squared error and the codec with detail.

    The codec's components stay as they are. The learning rate falls to 0 in the second half.
    """
    torch.manual_seed(seed)
    chance = torch.Generator().manual_seed(seed)
    detail = Detail(codec.channels, codec.patch)
    for weights in detail[-2].parameters():
        nn.init.zeros_(weights)  # it begins with the components alone
    codec = replace(codec, detail=detail)
    optimiser = torch.optim.AdamW(detail.parameters(), 2e-3, weight_decay=1e-4)
    for step in range(steps):
        rows = torch.randint(len(pictures), (BATCH,), generator=chance).sort().values
        images = to_tensor(pictures[rows.numpy()])
        z = codec.encode(images)
        rough = ROUGHNESS * torch.rand(BATCH, 1, 1, 1, generator=chance) * torch.randn(z.shape, generator=chance)
        loss = mse_loss(codec.decode(z + rough), images)
        optimiser.zero_grad()
        loss.backward()
        warm_then_cool(optimiser, step, steps)
        optimiser.step()
        yield step + 1, loss.item(), codec


def main() -> None:
    """Train and write `weights/codec.safetensors`, its components unchanged."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--steps", type=int, default=2500)
    arguments.add_argument("--folder", type=Path, default=Path("runs/pocket"), help="of the rendered pictures")
    arguments.add_argument("--codec", type=Path, default=WEIGHTS / "codec.safetensors")
    chosen = arguments.parse_args()
    codec, losses = PatchCodec.load(chosen.codec), []
    pictures = render_world(chosen.folder, TrainSettings())
    for step, loss, codec in iter_training(codec, pictures, chosen.steps):  # noqa: B007, B020 - the last one counts
        losses.append(loss)
        if step % 100 == 0:
            print(f"step {step}  error {np.mean(losses) ** 0.5 * 127.5:.3f} grey levels", flush=True)
            losses.clear()
    codec.save(chosen.codec)


if __name__ == "__main__":
    main()
