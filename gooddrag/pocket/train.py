"""Trains the pocket engine on the pocket world, and can be stopped and resumed at any moment.

`iter_training` is the loop: it yields one `Progress` per optimiser step, and whoever watches decides what to print.
Every random choice depends on (seed, step) alone, so a resumed run draws what an undisturbed one would have drawn.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Generator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from diffusers import DDPMScheduler, UNet2DConditionModel
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from gooddrag.files import write_whole
from gooddrag.pocket import WEIGHTS
from gooddrag.pocket.codec import PatchCodec, to_tensor
from gooddrag.pocket.world import render, sample_scene

Prediction = Literal["v_prediction", "epsilon"]
HELD_OUT = 10**9  # scene numbers from here on are never trained on
# What a trained model misses per hundred timesteps. Each loss is divided by its own, so that the noisiest levels, where
# nobody could know better, don't drown those at which drags are corrected.
UNKNOWABLE = torch.tensor([0.192, 0.112, 0.093, 0.090, 0.097, 0.117, 0.166, 0.264, 0.469, 0.740])


@dataclass(frozen=True)
class TrainSettings:
    """What decides the result of a training run. `pictures` counts pictures seen, over all sittings."""

    size: int = 64
    world: int = 24_000
    patch: int = 4
    channels: int = 16
    prediction: Prediction = "v_prediction"
    widths: tuple[int, ...] = (64, 128, 192, 256)
    batch: int = 32
    learning_rate: float = 1e-3
    warmup: int = 200
    hold: int = 3000
    ema: float = 0.999
    pictures: int = 20_000_000
    cooldown: int = 0
    seed: int = 0
    bf16: bool = False


@dataclass(frozen=True)
class Progress:
    """One optimiser step, seen from outside."""

    step: int
    pictures: int
    loss: Tensor  # (), where the model is: reading it waits for the device
    learning_rate: float
    seconds: float


def scene_number(index: int, seed: int = 0) -> np.random.Generator:
    """The random stream that draws scene `index`: the same scene whatever was drawn before it."""
    return np.random.default_rng([seed, index])


def render_world(folder: Path, settings: TrainSettings, start: int = 0, count: int | None = None) -> np.ndarray:
    """Pictures `start` … of the world as (N, size, size, 3) uint8, rendered once into `folder`, then memory-mapped.

    The file's name holds a mark of the world itself, so pictures of an older world are never taken for it.
    """
    count = settings.world if count is None else count
    mark = hashlib.blake2b(_render_one(start, settings.size, settings.seed).tobytes(), digest_size=4).hexdigest()
    path = folder / f"world-{mark}-{settings.size}-{settings.seed}-{start}-{count}.npy"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        numbers = range(start, start + count)
        with ProcessPoolExecutor(os.cpu_count()) as pool:
            pictures = list(
                pool.map(_render_one, numbers, [settings.size] * count, [settings.seed] * count, chunksize=64)
            )

        def save(part: Path) -> None:
            with part.open("wb") as file:  # given a name, numpy would add its own ending to it
                np.save(file, np.stack(pictures))

        write_whole(path, save)
    return np.load(path, mmap_mode="c")  # "r" would be too strict for PyTorch


def _render_one(index: int, size: int, seed: int) -> np.ndarray:
    picture = render(sample_scene(scene_number(index, seed)), size).image
    return np.round(picture * 255).astype(np.uint8)


def build_unet(size: int, channels: int, widths: tuple[int, ...]) -> UNet2DConditionModel:
    """A U-Net of Stable Diffusion's shape (4 levels, `up_blocks[2]` at full latent size), only narrower."""
    return UNet2DConditionModel(
        sample_size=size,
        in_channels=channels,
        out_channels=channels,
        layers_per_block=1,
        block_out_channels=widths,
        norm_num_groups=8,
        cross_attention_dim=64,
        attention_head_dim=4,
        down_block_types=("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
        up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
    )


def noise_schedule(prediction: Prediction = "v_prediction") -> Any:
    """Stable Diffusion's noise schedule; the model predicts velocity, or the noise ("epsilon")."""
    return DDPMScheduler(
        num_train_timesteps=1000,
        beta_schedule="scaled_linear",
        beta_start=0.00085,
        beta_end=0.012,
        prediction_type=prediction,
        clip_sample=False,
        steps_offset=1,
        timestep_spacing="leading",
    )


class PocketModel(nn.Module):
    """The U-Net together with the constant context that it learns in place of a text embedding (1, 8, 64)."""

    def __init__(self, unet: UNet2DConditionModel):
        super().__init__()
        self.unet = unet
        self.context = nn.Parameter(torch.randn(1, 8, 64) * 0.02)

    def forward(self, z: Tensor, t: Tensor) -> Tensor:
        return self.unet(z, t, self.context.expand(len(z), -1, -1)).sample


def learning_rate_at(step: int, settings: TrainSettings, optimised: int | None = None) -> float:
    """Warm up, hold, then fall with the inverse root of the step; cool down linearly over the last pictures.

    `optimised` counts from the optimiser's start, which is later than the model's where only weights were at hand.
    """
    optimised = step if optimised is None else optimised
    rate = settings.learning_rate * min(1.0, (optimised + 1) / settings.warmup)
    rate *= (settings.hold / max(step, settings.hold)) ** 0.5
    left = settings.pictures - step * settings.batch
    return rate * min(1.0, left / settings.cooldown) if settings.cooldown else rate


def warm_then_cool(optimiser: torch.optim.Optimizer, step: int, steps: int, rate: float = 2e-3) -> None:
    """Set a short run's learning rate: up over a hundred steps, down to 0 over the second half."""
    for group in optimiser.param_groups:
        group["lr"] = rate * min(1, (step + 1) / 100, (1 - step / steps) * 2)


def build_optimiser(model: nn.Module, settings: TrainSettings) -> torch.optim.AdamW:
    """AdamW with a short memory for the gradients' size: with the usual 0.999, wide nets diverged at this rate."""
    return torch.optim.AdamW(model.parameters(), settings.learning_rate, betas=(0.9, 0.99), weight_decay=0.01)


def draw_batch(
    pictures: Tensor, codec: PatchCodec, schedule: Any, step: int, settings: TrainSettings
) -> tuple[Tensor, Tensor, Tensor]:
    """Noisy latents (B, C, h, w), timesteps (B,) and targets for one step; timesteps are stratified over 0..999.

    All is drawn where the pictures (N, H, W, 3), uint8, and the codec are.
    """
    n, where = settings.batch, pictures.device
    chance = torch.Generator(where).manual_seed(settings.seed * 1_000_003 + step)
    rows = torch.randint(len(pictures), (n,), generator=chance, device=where)
    z0 = codec.encode(to_tensor(pictures[rows.sort().values]))
    shuffled, within = (draw(n, generator=chance, device=where) for draw in (torch.randperm, torch.rand))
    t = ((shuffled + within) * 1000 / n).long().clamp(max=999)  # rounding may reach 1000
    noise = torch.randn(z0.shape, generator=chance, device=where)
    target = noise if settings.prediction == "epsilon" else schedule.get_velocity(z0, noise, t)
    return schedule.add_noise(z0, noise, t), t, target


def balanced_loss(v: Tensor, target: Tensor, t: Tensor) -> Tensor:
    """Squared error of the velocity (B, C, h, w), every noise level given the same say; about as large as plain MSE."""
    error = (v - target).square().mean((1, 2, 3))
    return (error * (UNKNOWABLE.mean() / UNKNOWABLE).to(t.device)[t // 100]).mean()


def iter_training(
    folder: Path,
    settings: TrainSettings,
    save_every: float = 240.0,
    *,
    from_scratch: bool = False,
    world: Path | None = None,
    device: str = "cpu",
) -> Generator[Progress, None, None]:
    """Train until `settings.pictures` have been seen, saving to `folder` every `save_every` seconds and at the end.

    Starts from `folder`'s checkpoint; where there is none, from the committed weights, or `from_scratch`. The rendered
    pictures are kept in `folder` too, or in `world`. Closing the generator saves too.
    """
    torch.manual_seed(settings.seed)
    rendered = render_world(world or folder, settings)
    codec, model, step = _starting_point(folder, settings, rendered, from_scratch)
    codec, pictures = codec.to(device), torch.from_numpy(rendered).to(device)
    model.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    average = {name: value.detach().clone() for name, value in model.state_dict().items()}
    optimiser = build_optimiser(model, settings)
    optimised = _load_training(folder, average, optimiser)
    schedule, began, saved = noise_schedule(settings.prediction), time.monotonic(), time.monotonic()
    try:
        while step * settings.batch < settings.pictures:
            z, t, target = draw_batch(pictures, codec, schedule, step, settings)
            rate = learning_rate_at(step, settings, optimised)
            with torch.autocast(pictures.device.type, torch.bfloat16, enabled=settings.bf16):
                out = model(z.contiguous(memory_format=torch.channels_last), t).float()
            loss = mse_loss(out, target) if settings.prediction == "epsilon" else balanced_loss(out, target, t)
            model.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            for group in optimiser.param_groups:
                group["lr"] = rate
            optimiser.step()
            step, optimised = step + 1, optimised + 1
            decay = min(settings.ema, (1 + step) / (10 + step))
            values = [value for _, value in model.state_dict().items()]
            torch._foreach_lerp_(list(average.values()), values, 1 - decay)
            yield Progress(step, step * settings.batch, loss.detach(), rate, time.monotonic() - began)
            if time.monotonic() - saved > save_every:
                save_checkpoint(folder, codec, model, average, optimiser, (step, optimised), settings)
                saved = time.monotonic()
    finally:
        save_checkpoint(folder, codec, model, average, optimiser, (step, optimised), settings)


def _starting_point(
    folder: Path, settings: TrainSettings, pictures: np.ndarray, from_scratch: bool
) -> tuple[PatchCodec, PocketModel, int]:
    checkpoint = folder / "checkpoint.safetensors"
    if not checkpoint.exists() and not from_scratch and (WEIGHTS / "training.json").exists():
        codec = PatchCodec.load(WEIGHTS / "codec.safetensors")
        model = PocketModel(UNet2DConditionModel.from_pretrained(WEIGHTS / "unet", local_files_only=True).float())
        model.context.data = load_file(WEIGHTS / "context.safetensors")["context"].float()
        return codec, model, json.loads((WEIGHTS / "training.json").read_text())["pictures"] // settings.batch
    model = PocketModel(build_unet(settings.size // settings.patch, settings.channels, settings.widths))
    if not checkpoint.exists():
        return PatchCodec.fit(to_tensor(pictures[:1000]), settings.channels, settings.patch), model, 0
    state = load_file(checkpoint)
    model.load_state_dict({k[6:]: v for k, v in state.items() if k.startswith("model.")})
    codec = PatchCodec.of({k[6:]: v for k, v in state.items() if k.startswith("codec.")})
    return codec, model, int(state["step"])


def _load_training(folder: Path, average: dict[str, Tensor], optimiser: torch.optim.Optimizer) -> int:
    """Restore average and moments from the checkpoint, if there is one; returns how many steps they hold."""
    checkpoint = folder / "checkpoint.safetensors"
    if not checkpoint.exists():
        return 0
    state = load_file(checkpoint)
    for name, value in average.items():
        value.copy_(state[f"average.{name}"])
    for key, value in state.items():
        part, _, rest = key.partition(".")
        if part == "adam":
            index, _, moment = rest.partition(".")
            owner = optimiser.param_groups[0]["params"][int(index)]
            optimiser.state[owner][moment] = value if moment == "step" else value.to(owner.device)
    return int(state["optimised"])


def save_checkpoint(
    folder: Path,
    codec: PatchCodec,
    model: PocketModel,
    average: dict[str, Tensor],
    optimiser: torch.optim.Optimizer,
    steps: tuple[int, int],
    settings: TrainSettings,
) -> None:
    """Write `checkpoint.safetensors` whole or not at all: a kill at any moment leaves the last one intact.

    `steps` are those of the model and those of the optimiser.
    """
    state = {f"codec.{k}": v for k, v in codec.tensors().items()}
    state |= {"step": torch.tensor(steps[0]), "optimised": torch.tensor(steps[1])}
    state |= {f"model.{k}": v for k, v in model.state_dict().items()}
    state |= {f"average.{k}": v for k, v in average.items()}
    state |= {
        f"adam.{index}.{moment}": value.clone()  # Adam's counters are one tensor in the end: files want copies
        for index, p in enumerate(optimiser.param_groups[0]["params"])
        for moment, value in optimiser.state[p].items()
    }
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / "checkpoint.part"
    save_file({k: v.contiguous() for k, v in state.items()}, part, {"settings": json.dumps(asdict(settings))})
    part.replace(folder / "checkpoint.safetensors")


def export(folder: Path, settings: TrainSettings, weights: Path = WEIGHTS) -> dict:
    """Turn the checkpoint's averaged model into half-precision weights, with what the model card needs to state."""
    state = load_file(folder / "checkpoint.safetensors")
    model = PocketModel(build_unet(settings.size // settings.patch, settings.channels, settings.widths))
    model.load_state_dict({k[8:]: v for k, v in state.items() if k.startswith("average.")})
    codec = PatchCodec.of({k[6:]: v for k, v in state.items() if k.startswith("codec.")})
    step = int(state["step"])
    model.unet.half().save_pretrained(weights / "unet")
    noise_schedule(settings.prediction).save_pretrained(weights / "scheduler")
    save_file({"context": model.context.detach().half()}, weights / "context.safetensors")
    codec.save(weights / "codec.safetensors")
    facts = {"step": step, "pictures": step * settings.batch, "settings": asdict(settings)}
    (weights / "training.json").write_text(json.dumps(facts, indent=2) + "\n")
    return facts
