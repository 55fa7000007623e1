"""How much memory does a step of an edit take with a full-size Stable Diffusion, and what does each saving give?

    python benchmarks/memory.py [--size 512] [--only low normal …]

Builds SD 1.5 from its configuration with random weights (nothing is downloaded), runs one inversion step, one drag and
one denoise step on the CPU in float32, and prints the peak of the resident memory in each phase. Each line is a process
of its own, as a process never gives all of its memory back. A run takes minutes and, without savings, over 10 GB.
"""

from __future__ import annotations

import argparse
import json
import platform
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline
from diffusers.models.attention_processor import AttnProcessor
from torch import nn

from gooddrag.architectures import ARCHITECTURES
from gooddrag.backbone import Backbone, Memory, VaeCodec, attend_in_slices, from_pipeline
from gooddrag.checkpoint import wordless_tokenizer
from gooddrag.editor import iter_edit
from gooddrag.lora import train_identity
from gooddrag.methods import GoodDrag, LoraSettings
from gooddrag.plan import GB
from gooddrag.steps import Denoised, Dragged, Started
from gooddrag.task import DragTask

SD15 = ARCHITECTURES["sd15"]
ONE_STEP = GoodDrag(
    steps=2, strength=0.5, drags=1, per_denoise=1, supervision_steps=1, lora=None, mutual_attention="always"
)


class Peaks:
    """Peak of the resident memory (GB) and seconds of each phase; Linux sets the peak back on request."""

    def __init__(self) -> None:
        self.phases: dict[str, tuple[float, float]] = {}
        self.begin()

    def begin(self) -> None:
        Path("/proc/self/clear_refs").write_text("5")
        self.began = time.perf_counter()

    def end(self, phase: str) -> None:
        status = Path("/proc/self/status").read_text()
        peak = int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) * 1024 / GB
        self.phases[phase] = (peak, time.perf_counter() - self.began)
        self.begin()


def at_random(part: nn.Module) -> nn.Module:
    """A part that was built on the meta device, with random weights on the CPU."""
    part.to_empty(device="cpu").requires_grad_(False).eval()
    for name, value in [*part.named_parameters(), *part.named_buffers()]:
        if not value.is_floating_point():
            value.copy_(torch.arange(value.numel()).reshape(value.shape))  # CLIP's list of positions
        elif value.ndim > 1:
            value.normal_(0, 0.02)
        else:
            value.fill_(float(name.endswith("weight")))
    return part


def random_pipeline() -> StableDiffusionPipeline:
    """SD 1.5 with random weights, as its folder would be loaded."""
    torch.manual_seed(0)
    with torch.device("meta"):
        parts = [SD15.build_unet(), SD15.build_vae(), *SD15.build_text_encoders()]
    unet, vae, text = map(at_random, parts)
    with tempfile.TemporaryDirectory() as folder:
        tokenizer = wordless_tokenizer(49408, "<|endoftext|>", Path(folder))
    scheduler = DDIMScheduler(**SD15.scheduler)
    return StableDiffusionPipeline(vae, text, tokenizer, unet, scheduler, None, None, requires_safety_checker=False)


def picture(side: int) -> DragTask:
    """A noisy picture with one drag on it."""
    pixels = np.random.default_rng(0).integers(0, 256, (side, side, 3)).astype(np.uint8)
    return DragTask(pixels, [(side // 2, side // 2)], [(side // 2 + side // 8, side // 2)])


def whole_edit(memory: Memory, side: int, peaks: Peaks) -> None:
    """Load, encode, one inversion step, one drag, one denoise step, decode."""
    backbone = from_pipeline(random_pipeline(), "sd15", memory=memory)
    peaks.end("load")
    for step in iter_edit(backbone, picture(side), ONE_STEP, use_cache=False):
        phase = {Started: "encode and invert", Dragged: "drag", Denoised: "denoise"}.get(type(step))
        if phase:
            peaks.end(phase)
    peaks.end("decode")


def learning(memory: Memory, side: int, peaks: Peaks) -> None:
    """One training step of the identity adapter on one picture, as memory="low" sees them."""
    backbone = from_pipeline(random_pipeline(), "sd15", memory=memory)
    peaks.end("load")
    list(train_identity(backbone, torch.randn(1, 4, side // 8, side // 8), LoraSettings(steps=1, batch=1)))
    peaks.end("learn identity")


def one_drag(change: Callable[[Backbone], None], side: int, peaks: Peaks) -> None:
    """One pass and back, the heart of a drag, with one thing changed."""
    backbone = from_pipeline(random_pipeline(), "sd15")
    change(backbone)
    peaks.end("load")
    z = torch.randn(1, 4, side // 8, side // 8, requires_grad=True)
    look = backbone.predict(z, 501, features=True)
    (look.features.square().sum() + look.eps.square().sum()).backward()
    peaks.end("drag")


def decoding(tile: int, side: int, peaks: Peaks) -> None:
    """The autoencoder alone."""
    with torch.device("meta"):
        vae = SD15.build_vae()
    codec = VaeCodec(at_random(vae), tile=tile)
    peaks.begin()
    codec.decode(torch.randn(1, 4, side // 8, side // 8))
    peaks.end("decode")


def again_and_sliced(backbone: Backbone) -> None:
    backbone.unet.enable_gradient_checkpointing()
    attend_in_slices(backbone.unet)


RUNS: dict[str, Callable[[int, Peaks], None]] = {
    "low": lambda side, peaks: whole_edit("low", side, peaks),
    "normal": lambda side, peaks: whole_edit("normal", side, peaks),
    "low, learning": lambda side, peaks: learning("low", side, peaks),
    "one drag: as it is": lambda side, peaks: one_drag(lambda _: None, side, peaks),
    "one drag: computed again": lambda side, peaks: one_drag(
        lambda backbone: backbone.unet.enable_gradient_checkpointing(), side, peaks
    ),
    "one drag: whole attention matrices": lambda side, peaks: one_drag(
        lambda backbone: backbone.unet.set_attn_processor(AttnProcessor()), side, peaks
    ),
    "one drag: computed again, in slices": lambda side, peaks: one_drag(again_and_sliced, side, peaks),
    "decode: whole": lambda side, peaks: decoding(side, side, peaks),
    "decode: in tiles of half the side": lambda side, peaks: decoding(side // 2, side, peaks),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=512, help="side of the picture in px")
    parser.add_argument("--only", nargs="+", choices=RUNS, default=list(RUNS), help="which lines")
    parser.add_argument("--here", choices=RUNS, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.here:
        peaks = Peaks()
        RUNS[chosen.here](chosen.size, peaks)
        print(json.dumps(peaks.phases))
        return
    print(f"SD 1.5, random weights, {chosen.size}², float32, {platform.machine()}, {torch.get_num_threads()} threads,")
    print(f"torch {torch.__version__}; peak of the resident memory in GB (2³⁰ bytes), and seconds")
    for name in chosen.only:
        command = [sys.executable, __file__, "--size", str(chosen.size), "--here", name]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            print(f"{name:42} failed: {(done.stderr.strip().splitlines() or ['killed'])[-1]}", flush=True)
            continue
        phases = json.loads(done.stdout.strip().splitlines()[-1])
        words = "  ".join(f"{phase} {peak:.2f} ({seconds:.0f} s)" for phase, (peak, seconds) in phases.items())
        print(f"{name:42} peak {max(peak for peak, _ in phases.values()):5.2f}   {words}", flush=True)


if __name__ == "__main__":
    main()
