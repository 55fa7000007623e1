"""Measures the pocket engine: the numbers of its model card. Run it with `python -m gooddrag.pocket.quality`."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import mse_loss

from gooddrag.backbone import Backbone, load_backbone
from gooddrag.diffusion import SourcePath, Timeline, add_noise, ddim_invert, ddim_step
from gooddrag.methods import GoodDrag
from gooddrag.pocket.codec import to_tensor
from gooddrag.pocket.pose import fit_scene, guess_scenes, places
from gooddrag.pocket.tasks import make_task, to_image
from gooddrag.pocket.train import HELD_OUT, TrainSettings, noise_schedule, render_world, scene_number
from gooddrag.pocket.world import render, sample_scene

POSE_SEEDS = 500  # tasks from here on show how well poses are read


def held_out_pictures(count: int) -> Tensor:
    """Pictures that were never trained on (count, 3, 64, 64) in [-1, 1]."""
    scenes = [sample_scene(scene_number(HELD_OUT + k)) for k in range(count)]
    return torch.from_numpy(np.stack([render(s).image for s in scenes])).permute(0, 3, 1, 2) * 2 - 1


def noised(z0: Tensor) -> Iterator[tuple[int, Tensor, Tensor, Tensor]]:
    """Latents (B, C, h, w) with fixed noise: for each hundred timesteps its first, t (B,), noise, noisy latents."""
    schedule, chance = noise_schedule(), torch.Generator().manual_seed(1)
    for low in range(0, 1000, 100):
        t = torch.randint(low, low + 100, (len(z0),), generator=chance)
        noise = torch.randn(z0.shape, generator=chance)
        yield low, t, noise, schedule.add_noise(z0, noise, t)


@torch.no_grad()
def held_out_loss(backbone: Backbone, images: Tensor) -> dict[str, float]:
    """Mean squared error of the velocity, per band of a hundred timesteps, with fixed noise."""
    z0, schedule, losses = backbone.encode(images), noise_schedule(), {}
    for low, t, noise, noisy in noised(z0):
        v = backbone.raw_predict(noisy, t)
        losses[f"{low}–{low + 99}"] = mse_loss(v, schedule.get_velocity(z0, noise, t)).item()
    return losses


@torch.no_grad()
def round_trips(backbone: Backbone, images: Tensor, timeline: Timeline) -> tuple[float, float]:
    """Mean PSNR in dB of codec alone, and of inversion and denoising back (38 of 50 steps, no LoRA)."""
    z0 = backbone.encode(images)
    *_, inverted = ddim_invert(backbone, z0, timeline)
    back = SourcePath.denoise(backbone, inverted, timeline).latents[-1]
    return restored(backbone, z0, images), restored(backbone, back, images)


def restored(backbone: Backbone, z: Tensor, images: Tensor) -> float:
    """Mean PSNR in dB of decoded latents (B, C, h, w) against their pictures (B, 3, 64, 64) in [-1, 1]."""
    error = ((backbone.decode(z).clamp(-1, 1) - images) / 2).square().mean((1, 2, 3))
    return float((-10 * error.log10()).mean())


@torch.no_grad()
def perturbation_left(backbone: Backbone, images: Tensor, timeline: Timeline, size: float = 0.3) -> dict[int, float]:
    """How much of a known perturbation of z_t is left in the clean latent, per timestep: the power of the prior.

    A random perturbation of RMS `size` is added at one timestep, then all is denoised. 1 means that it arrives in full,
    0 that it was taken for noise and removed. AlDD lives on this curve: drags perturb, denoising heals.
    """
    *_, inverted = ddim_invert(backbone, backbone.encode(images), timeline)
    path = SourcePath.denoise(backbone, inverted, timeline)
    chance, left = torch.Generator().manual_seed(3), {}
    for i in range(0, len(timeline), 6):
        z = path.latents[i] + size * torch.randn(inverted.shape, generator=chance)
        z = _denoised(backbone, z, timeline, i)
        left[timeline.timesteps[i]] = float((z - path.latents[-1]).square().mean().sqrt() / size)
    return left


@torch.no_grad()
def brokenness_after_noise(backbone: Backbone, images: Tensor, timeline: Timeline) -> dict[int, float]:
    """How broken pictures are that were noised at random to a timestep and denoised: what no edit can do better than.

    Median over images (B, 3, 64, 64), in grey levels, as the pose reader sees it (`metrics/ground_truth.py`).
    """
    z0, chance, found = backbone.encode(images), torch.Generator().manual_seed(5), {}
    for i in range(0, len(timeline), 6):
        t = timeline.timesteps[i]
        noisy = add_noise(z0, torch.randn(z0.shape, generator=chance), backbone.alpha_bar(t))
        pictures = _pictures(backbone, _denoised(backbone, noisy, timeline, i))
        found[t] = float(np.median([fit_scene(picture).brokenness() for picture in pictures]))
    return found


def _pictures(backbone: Backbone, z: Tensor) -> list[Image.Image]:
    """Latents (B, C, h, w) → pictures."""
    return [to_image(p) for p in (backbone.decode(z).clamp(-1, 1) / 2 + 0.5).permute(0, 2, 3, 1).numpy()]


def _denoised(backbone: Backbone, z: Tensor, timeline: Timeline, start: int = 0) -> Tensor:
    """Denoise from timestep index `start` to the end, keeping nothing on the way."""
    for t in timeline.timesteps[start:]:
        z = ddim_step(z, backbone.predict(z, t).eps, backbone.alpha_bar(t), backbone.alpha_bar(timeline.after(t)))
    return z


def nearest(pictures: np.ndarray, others: np.ndarray, chunk: int = 2000) -> np.ndarray:
    """RMS distance in grey levels from each picture (N, H, W, 3) to the nearest of `others`, mirrored or not (N,)."""
    x = torch.from_numpy(pictures.reshape(len(pictures), -1).astype(np.float32))
    best = torch.full((len(x),), torch.inf)
    for start in range(0, len(others), chunk):
        part = others[start : start + chunk]
        for view in (part, part[:, :, ::-1]):
            y = torch.from_numpy(view.reshape(len(view), -1).astype(np.float32))
            best = torch.minimum(best, torch.cdist(x, y).min(1).values)
    return (best / x.shape[1] ** 0.5).numpy()


@torch.no_grad()
def samples(backbone: Backbone, count: int = 24, seed: int = 0) -> list[Image.Image]:
    """Pictures from pure noise, 50 DDIM steps."""
    chance = torch.Generator().manual_seed(seed)
    z = torch.randn(count, *backbone.encode(torch.zeros(1, 3, 64, 64)).shape[1:], generator=chance)
    return _pictures(backbone, _denoised(backbone, z, Timeline(50, 1)))


def pose_errors(count: int = 24) -> dict[str, float]:
    """How far off the pose reader is on unedited pictures, in px: median over the landmarks of fresh tasks' truths."""
    guessed, fitted = [], []
    for seed in range(POSE_SEEDS, POSE_SEEDS + count):
        known = make_task("move", seed)
        (guess,) = guess_scenes(to_tensor(np.asarray(known.truth)[None]))
        truth = places(known.after, known.dragged)
        guessed.append(np.linalg.norm(places(guess, known.dragged) - truth, axis=1))
        fitted.append(np.linalg.norm(fit_scene(known.truth).landmarks(known.dragged) - truth, axis=1))
    return {"by the network alone": float(np.median(guessed)), "after fitting": float(np.median(fitted))}


def sheet(rows: list[list[Image.Image]], side: int = 192) -> Image.Image:
    """Rows of pictures on one white sheet, enlarged smoothly."""
    whole = Image.new("RGB", (side * max(map(len, rows)), side * len(rows)), "white")
    for y, row in enumerate(rows):
        for x, picture in enumerate(row):
            whole.paste(picture.resize((side, side), Image.Resampling.LANCZOS), (x * side, y * side))
    return whole


def main() -> None:
    """Print the numbers as JSON and write the sheet of samples."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--out", type=Path, default=Path("runs/quality"))
    arguments.add_argument(
        "--world", type=Path, help="folder of the rendered training pictures (runs/pocket), to look for memorised ones"
    )
    chosen = arguments.parse_args()
    chosen.out.mkdir(parents=True, exist_ok=True)
    backbone = load_backbone("pocket")
    images = held_out_pictures(256)
    codec, trip = round_trips(backbone, images[:32], Timeline())
    losses = held_out_loss(backbone, images)
    drawn = samples(backbone)
    sheet([drawn[k : k + 8] for k in range(0, 24, 8)]).save(chosen.out / "samples.png")
    if chosen.world:
        world = render_world(chosen.world, TrainSettings())
        fresh = (images[: len(drawn)].permute(0, 2, 3, 1).numpy() / 2 + 0.5) * 255
        memory = {
            "samples": float(np.median(nearest(np.stack([np.asarray(p) for p in drawn]), world))),
            "held-out pictures": float(np.median(nearest(fresh, world))),
        }
    else:
        memory = {}
    report = {
        "held_out_v_loss": losses | {"mean": sum(losses.values()) / len(losses)},
        "codec_psnr_db": codec,
        "inversion_round_trip_psnr_db": trip,
        "perturbation_left": perturbation_left(backbone, images[:8], GoodDrag.for_pocket().timeline),
        "brokenness_after_noise": brokenness_after_noise(backbone, images[:24], GoodDrag.for_pocket().timeline),
        "nearest_training_picture_grey_levels": memory,
        "pose_error_px": pose_errors(),
    }
    (chosen.out / "quality.json").write_text(json.dumps(report, indent=1) + "\n")
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
