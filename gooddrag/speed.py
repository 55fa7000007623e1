"""How fast, how large and how exact is an edit on this machine? What `gooddrag doctor --bench` measures and prints.

A short edit on a shipped picture is watched as its stream of steps goes by; nothing here is part of an edit.
"""

from __future__ import annotations

import math
import statistics
import sys
import time
from collections import defaultdict
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from gooddrag.backbone import Backbone, load_backbone
from gooddrag.doctor import device_name, versions
from gooddrag.editor import iter_edit
from gooddrag.methods import Method, method_for
from gooddrag.pocket import EXAMPLES
from gooddrag.steps import Denoised, Dragged, Finished, Inverted, Measured, Supervised
from gooddrag.task import DragTask

try:
    import resource
except ImportError:  # Windows has no such thing
    resource = None

# 8 timesteps and 6 drags; with that reach no handle arrives before they are done.
SHORT = {"steps": 16, "strength": 0.5, "drags": 6, "per_denoise": 3, "supervision_steps": 3, "lora": None, "reach": 0.1}
GLANCE = SHORT | {"steps": 4, "drags": 1, "per_denoise": 1}
SIDE = 512  # px, of a picture for Stable Diffusion
PARTS = {Inverted: "inversion step", Dragged: "drag (J = 3)", Denoised: "denoise step", Finished: "decode"}


@dataclass(frozen=True)
class Speed:
    """What was measured; as text, a Markdown table."""

    model: str
    size: tuple[int, int]  # of the picture, px
    device: str
    dtype: str
    versions: str
    seconds: dict[str, float]  # of one step of each kind, the median
    peak: float  # GB (2³⁰ bytes): of the GPU's memory, or of the process's; NaN where the system doesn't tell
    apart: float | None  # largest difference of the latents to those on a CPU in float32; None: they are those

    def __str__(self) -> str:
        owner = "of the GPU's memory" if self.device.startswith("cuda") else "resident, libraries included"
        apart = "not compared: this is the CPU" if self.apart is None else f"{self.apart:.1e}"
        rows = {
            f"`gooddrag doctor --bench {self.model}`": "",
            "---": "---",
            "device": self.device,
            "weights": self.dtype,
            "versions": self.versions,
            "picture": f"{self.size[0]}×{self.size[1]} px",
            **{part: f"{seconds:.3f} s" for part, seconds in self.seconds.items()},
            "peak memory": "not told here" if math.isnan(self.peak) else f"{self.peak:.2f} GB {owner}",
            "difference to the CPU in float32": apart,
        }
        return "\n".join(f"| {what} | {found} |" for what, found in rows.items())


def measure(backbone: Backbone) -> Speed:
    """Run a short edit; where it isn't in float32 on the CPU, also a shorter one here and there to compare latents."""
    model, device, dtype = backbone.name, backbone.device, backbone.unet.dtype
    task = shipped_task(None if backbone.working_side else SIDE)
    short, glance = (method_for("gooddrag", model, **settings) for settings in (SHORT, GLANCE))
    there, apart = latents(backbone, task, glance), None  # it warms the device up, too
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    seconds = seconds_of_parts(backbone, task, short)
    peak = peak_memory(device)
    if (device.type, dtype) != ("cpu", torch.float32):
        here = latents(load_backbone(model, device="cpu", dtype=torch.float32), task, glance)
        apart = largest_difference(there, here)
    name = device_name(device.type)
    return Speed(model, task.size, name, str(dtype).removeprefix("torch."), versions(), seconds, peak, apart)


def shipped_task(side: int | None = None) -> DragTask:
    """A task that comes with pocket, its square picture scaled to `side` px where that is given."""
    task = DragTask.read(EXAMPLES / "turn-head-1")
    if side is None:
        return task
    scale = side / task.size[0]
    handles, targets = ((points + 0.5) * scale - 0.5 for points in (task.handles, task.targets))
    mask = None if task.mask is None else np.asarray(Image.fromarray(task.mask).resize((side, side)))
    return DragTask(task.image.resize((side, side), Image.Resampling.LANCZOS), handles, targets, mask, task.name)


def seconds_of_parts(backbone: Backbone, task: DragTask, method: Method) -> dict[str, float]:
    """Seconds of an inversion step, a drag, a denoise step and decoding: medians over an edit.

    Denoise steps that follow drags at their timestep don't count: they can use what the drags have asked already.
    """
    seconds: dict[type, list[float]] = defaultdict(list)
    began, dragged_at = time.perf_counter(), -1
    for step in iter_edit(backbone, task, method, use_cache=False):
        if isinstance(step, Supervised):
            continue  # a part of its drag
        dragged_at = step.at if isinstance(step, Dragged) else dragged_at
        wait_for(backbone.device)
        if not (isinstance(step, Denoised) and step.at == dragged_at):
            seconds[type(step)].append(time.perf_counter() - began)
        began = time.perf_counter()
    return {part: statistics.median(seconds[kind]) for kind, part in PARTS.items()}


def wait_for(device: torch.device) -> None:
    """A GPU works on while Python goes on: wait until it is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def peak_memory(device: torch.device) -> float:
    """The most memory in use so far, in GB."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**30
    if resource is None:
        return math.nan
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**30 if sys.platform == "darwin" else 2**20)


def latents(backbone: Backbone, task: DragTask, method: Method) -> list[Tensor]:
    """The latents (1, C, h, w) after inversion and after each drag and denoise step, as float32 on the CPU."""
    steps = iter_edit(backbone, task, method, use_cache=False)
    return [step.latent.float().cpu() for step in steps if isinstance(step, Measured)]


def largest_difference(some: list[Tensor], others: list[Tensor]) -> float:
    """Between the latents of two edits, over all of their steps."""
    return max((a - b).abs().max().item() for a, b in zip(some, others, strict=True))
