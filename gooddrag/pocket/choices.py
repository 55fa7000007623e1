"""Compares what the pocket model could have been by short training runs at equal compute: a table of its model card.

    python -m gooddrag.pocket.choices ["as it is" "half as wide" …] [--minutes 8] [--workers 2]

Each choice is trained from scratch for as many minutes of one core, then measured: how well it denoises pictures that
were never trained on, and how far GoodDrag leads with it. Goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import statistics
import time
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from dataclasses import replace
from functools import partial
from itertools import product
from pathlib import Path

import torch
from torch import Tensor

from gooddrag.backbone import Backbone, load_pocket
from gooddrag.diffusion import predict_x0
from gooddrag.editor import edit
from gooddrag.features import CELLS_PER_LATENT
from gooddrag.files import write_whole
from gooddrag.methods import GoodDrag
from gooddrag.metrics.ground_truth import score
from gooddrag.pocket.quality import held_out_pictures, noised, restored
from gooddrag.pocket.tasks import KINDS, make_task
from gooddrag.pocket.train import TrainSettings, export, iter_training, noise_schedule, render_world

SHORT = TrainSettings(warmup=50)
CHOICES = {
    "as it is": SHORT,
    "noise prediction": replace(SHORT, prediction="epsilon"),
    "finer latents, 32 × 32 × 6": replace(SHORT, patch=2, channels=6),
    "coarser latents, 8 × 8 × 64": replace(SHORT, patch=8, channels=64),
    "half as wide": replace(SHORT, widths=(32, 64, 96, 128)),
    "half as wide again": replace(SHORT, widths=(96, 192, 288, 384)),
    "a tenth of the pictures": replace(SHORT, world=2_400),
}
TUNING = (100, 101)  # seeds of the tasks: nothing is reported on them elsewhere
COLUMNS = {
    "pictures": ("pictures seen", ",.0f"),
    "parameters": ("million parameters", ".1f"),
    "velocity_loss": ("velocity loss", ".3f"),
    "picture_error": ("denoised picture, off by", ".1f"),
    "codec": ("codec (dB)", ".1f"),
    "error_share": ("distance left", ".2f"),
    "gained_db": ("PSNR gained (dB)", "+.1f"),
    "seconds": ("seconds an edit", ".1f"),
}


def train(folder: Path, world: Path, settings: TrainSettings, minutes: float) -> int:
    """Train from scratch for so many minutes of this process's own time; returns the pictures seen."""
    render_world(world, settings)
    (folder / "checkpoint.safetensors").unlink(
        missing_ok=True
    )  # what an interrupted run has left would be a head start
    seen, began = 0, time.process_time()
    with closing(iter_training(folder, settings, float("inf"), from_scratch=True, world=world)) as steps:
        for step in steps:
            seen = step.pictures
            if time.process_time() - began > minutes * 60:
                break
    export(folder, settings, folder / "weights")
    return seen


@torch.no_grad()
def denoising(backbone: Backbone, images: Tensor) -> dict[str, float]:
    """How well held-out pictures (B, 3, 64, 64) are denoised in one step, mean over bands of a hundred timesteps.

    `velocity_loss` is in units of the latent, and so compares choices with the same latents alone; `picture_error` is
    what the denoised picture differs by from the codec's own, root mean square in grey levels.
    """
    z0, velocity, picture = backbone.encode(images), [], []
    schedule, target = noise_schedule(), backbone.decode(z0)
    for _, t, noise, noisy in noised(z0):
        eps = backbone.predict(noisy, t).eps
        each = zip(noisy.split(1), eps.split(1), t.tolist(), strict=True)
        clean = torch.cat([predict_x0(one, its_noise, backbone.alpha_bar(s)) for one, its_noise, s in each])
        off = schedule.get_velocity(clean, eps, t) - schedule.get_velocity(z0, noise, t)
        velocity.append(off.square().mean().item())
        picture.append((backbone.decode(clean) - target).square().mean().sqrt().item() * 127.5)
    return {"velocity_loss": statistics.mean(velocity), "picture_error": statistics.mean(picture)}


def dragging(backbone: Backbone, patch: int) -> dict[str, float]:
    """GoodDrag's fast settings on tuning tasks of every kind, means; radii and steps keep their size in pixels."""
    usual, found = GoodDrag.fast(), []
    cells = CELLS_PER_LATENT / patch  # feature cells in a pixel
    method = usual.with_settings(**{name: getattr(usual, name) * cells for name in ("r1", "r2", "beta", "reach")})
    for kind, seed in product(KINDS, TUNING):
        known, began = make_task(kind, seed), time.process_time()
        picture = edit(backbone, known.task, method, use_cache=False).image
        seconds, reached = time.process_time() - began, score(known, picture)
        found.append(
            {
                "error_share": reached.error_share,
                "gained_db": reached.edit_psnr - reached.source_psnr,
                "seconds": seconds,
            }
        )
    return {name: statistics.mean(row[name] for row in found) for name in found[0]}


def measure(name: str, out: Path, world: Path, minutes: float) -> dict[str, float]:
    """Train one choice and measure it, or read what an earlier run has found."""
    settings, folder = CHOICES[name], out / name
    done = folder / f"found-{minutes:g}.json"
    if not done.exists():
        torch.set_num_threads(1)
        seen = train(folder, world, settings, minutes)
        backbone, images = load_pocket(folder / "weights"), held_out_pictures(256)
        found = {
            "pictures": seen,
            "parameters": sum(p.numel() for p in backbone.unet.parameters()) / 1e6,
            **denoising(backbone, images),
            "codec": restored(backbone, backbone.encode(images), images),
            **dragging(backbone, settings.patch),
        }
        write_whole(done, lambda part: part.write_text(json.dumps(found, indent=1) + "\n"))
    return json.loads(done.read_text())


def table(found: dict[str, dict[str, float]]) -> str:
    """What was found, as Markdown."""
    lines = [
        "| choice | " + " | ".join(title for title, _ in COLUMNS.values()) + " |",
        "|---" * (len(COLUMNS) + 1) + "|",
    ]
    lines += [
        f"| {name} | " + " | ".join(format(row[key], form) for key, (_, form) in COLUMNS.items()) + " |"
        for name, row in found.items()
    ]
    return "\n".join(lines)


def main() -> None:
    """Train and measure all, so many at once, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="CHOICE", help=f"one of {', '.join(CHOICES)}; default: all")
    parser.add_argument("--minutes", type=float, default=8, help="of one core, for each choice's training")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("runs/choices"))
    parser.add_argument("--world", type=Path, default=Path("runs/pocket"), help="folder of the rendered pictures")
    chosen = parser.parse_args()
    names = chosen.names or list(CHOICES)
    if strange := sorted(set(names) - set(CHOICES)):
        parser.error(f"there is no choice '{strange[0]}': take one of {', '.join(CHOICES)}")
    for name in names:  # before there are several processes that would all do it
        render_world(chosen.world, CHOICES[name])
    with ProcessPoolExecutor(chosen.workers, multiprocessing.get_context("spawn")) as pool:
        rows = pool.map(partial(measure, out=chosen.out, world=chosen.world, minutes=chosen.minutes), names)
        print(table(dict(zip(names, rows, strict=True))))


if __name__ == "__main__":
    main()
