"""What a benchmark consists of: units, each one edit of one task by one method with one seed; and how one is done.

A unit's key is the hash of everything that its result depends on. Rows are named by it, so that a unit that is done
twice leaves one row, and numbers of other weights or settings never mix.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from gooddrag.backbone import Backbone, load_backbone
from gooddrag.cache import content_key
from gooddrag.editor import edit
from gooddrag.errors import BadInput, EditFailed
from gooddrag.measures import Edited, measure
from gooddrag.methods import METHODS, Method, method_for
from gooddrag.pocket.tasks import KnownTask
from gooddrag.result import Result
from gooddrag.settings import parse_assignments
from gooddrag.task import DragTask
from gooddrag.together import edit_together

COST = ("seconds", "peak_mb", "worker", "together")  # the columns that differ from run to run


@dataclass(frozen=True)
class Engine:
    """Which engine workers load, and how. Equal by name, so that a worker knows again what it has loaded."""

    name: str = "pocket"
    load: Callable[[str, str, str], Backbone] = field(default=load_backbone, compare=False, repr=False)


@dataclass(frozen=True, eq=False)
class Unit:
    """One edit to do and measure. `label` is the method's name in tables; the method has the seed in it."""

    sample: str
    category: str
    kind: str
    label: str
    method: Method
    measures: tuple[str, ...]
    fingerprint: str
    task: DragTask = field(repr=False)
    known: KnownTask | None = field(default=None, repr=False)

    @property
    def key(self) -> str:
        settings = self.method.model_dump(mode="json")
        return content_key(task_key(self.task), self.method.name, settings, self.measures, self.fingerprint)

    def facts(self) -> dict[str, Any]:
        """The part of its row that is known beforehand."""
        return {
            "key": self.key,
            "sample": self.sample,
            "category": self.category,
            "kind": self.kind,
            "method": self.label,
            "seed": self.method.seed,
            "task": task_key(self.task),
            "fingerprint": self.fingerprint,
            "settings": {"method": self.method.name.lower()} | self.method.model_dump(mode="json"),
        }


def task_key(task: DragTask) -> str:
    """The hash of picture, points, paths, mask and prompt."""
    mask = b"" if task.mask is None else np.packbits(task.mask).tobytes()
    points = [task.handles.tolist(), task.targets.tolist()]
    if task.via:
        points.append([stops.tolist() for stops in task.via])
    return content_key(task.size, task.image.tobytes(), tuple(points), mask, task.prompt)


def parse_methods(text: str, backbone: str) -> dict[str, Method]:
    """ "gooddrag,dragdiffusion:drags=210" → methods by label, with the settings that suit the backbone; "all": each."""
    methods = {}
    for label in METHODS if text.strip() == "all" else (part.strip() for part in text.split(",")):
        name, *changes = label.split(":")
        methods[label] = method_for(name, backbone, **parse_assignments(changes))
    if not methods or "" in methods:
        raise BadInput("No methods were named: write --methods gooddrag,dragdiffusion.")
    return methods


def grouped(units: Iterable[Unit], together: int) -> Iterator[list[Unit]]:
    """Units of one method and prompt, so many at a time; those that need the network alone one by one."""
    begun: dict[tuple[str, str], list[Unit]] = {}
    for unit in units:
        place = unit.label, unit.task.prompt
        group = begun.setdefault(place, [])
        group.append(unit)
        if len(group) >= (together if unit.method.abilities.together else 1):
            yield begun.pop(place)
    yield from begun.values()


# On a worker


@lru_cache(1)
def loaded(engine: Engine, prompt: str, device: str) -> Backbone:
    """This worker's backbone, kept from unit to unit."""
    return engine.load(engine.name, prompt, device)


def fingerprint(engine: Engine) -> str:
    """The hash of the weights that this worker has."""
    return loaded(engine, "", own_device()).fingerprint


def own_device() -> str:
    """One GPU for each worker where there are several, else the best device there is."""
    if not torch.cuda.is_available():
        return "mps" if torch.backends.mps.is_available() else "cpu"
    name = own_name()
    return f"cuda:{int(name) % torch.cuda.device_count() if name.isdigit() else 0}"


def own_name() -> str:
    """The worker's name: local ones are numbered. Empty outside of workers."""
    from distributed import get_worker

    try:
        return str(get_worker().name)
    except ValueError:
        return ""


def do(units: list[Unit], engine: Engine, threads: int) -> list[tuple[dict[str, Any], bytes | None]]:
    """Edit and measure; returns each unit's row, and its picture as PNG unless the edit failed.

    Several units are edited at once; the time is shared out among them. Whatever an edit raises becomes its row's
    reason: a method that fails on a picture has failed, and the next unit goes on. A worker that can't load the engine,
    or lacks a package, is no method's fault and ends the benchmark.
    """
    torch.set_num_threads(threads)
    device, prompt = own_device(), units[0].task.prompt
    backbone = loaded(engine, prompt, device)
    for unit in units:
        if not prompt and backbone.fingerprint != unit.fingerprint:  # a prompt is part of the fingerprint
            raise EditFailed("The workers have different weights: give all of them the same.")
    forget_peak(device)
    began = time.perf_counter()
    found = _edited(units, backbone)
    cost = {"seconds": (time.perf_counter() - began) / len(units), "peak_mb": peak_mb(device), "together": len(units)}
    return [_measured(unit, result, cost, backbone) for unit, result in zip(units, found, strict=True)]


def _edited(units: list[Unit], backbone: Backbone) -> list[Result | Exception]:
    """Without the cache: an adapter that is there already would hide what it costs."""
    try:
        if len(units) > 1:
            return edit_together(backbone, [(unit.task, unit.method) for unit in units], use_cache=False)
        (unit,) = units
        return [edit(backbone, unit.task, unit.method, use_cache=False)]
    except ImportError:
        raise
    except Exception as error:
        return [error] * len(units)


def _measured(
    unit: Unit, result: Result | Exception, cost: dict[str, Any], backbone: Backbone
) -> tuple[dict[str, Any], bytes | None]:
    row = unit.facts() | {"worker": own_name()}
    try:
        if isinstance(result, Exception):
            raise result
        table = result.trace.table
        numbers, doubts = measure(Edited(unit.task, result.image, unit.known, backbone, unit.method), unit.measures)
    except ImportError:
        raise
    except Exception as error:
        return row | failure(error), None
    row |= cost | {
        "ok": True,
        "reason": "",
        "drags": int(table["drag"].max()) if len(table) else 0,
        "reached": result.reached,
        "tracked_px": float(table.groupby("point")["distance"].last().mean()),
        "drift": float(table.groupby("point")["drift"].last().mean()),
        "doubts": doubts,
    }
    return row | numbers, png(result.image)


def failure(error: BaseException) -> dict[str, Any]:
    """The rest of the row of an edit that has failed."""
    ours = type(error).__module__.startswith("gooddrag.")
    reason = " ".join(str(error).split())[:300]
    return {"ok": False, "reason": reason if ours else f"{type(error).__name__}: {reason}", "doubts": {}}


def png(picture: Image.Image) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, "PNG")
    return stream.getvalue()


def forget_peak(device: str) -> None:
    """Begin to measure memory anew. On CPUs only Linux can; elsewhere the peak is that of the worker's whole life."""
    if device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats(device)
        return
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return


def peak_mb(device: str) -> float:
    """Most memory in use since then, in MB: of the GPU, or of the worker's process with all its libraries."""
    if device.startswith("cuda"):
        return torch.cuda.max_memory_allocated(device) / 2**20
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return float(next(line.split()[1] for line in lines if line.startswith("VmHWM:"))) / 2**10
    except (OSError, StopIteration):
        return float("nan")
