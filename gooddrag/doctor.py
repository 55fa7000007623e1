"""What `gooddrag doctor` looks at: is everything here that an edit needs? It works where packages are missing."""

from __future__ import annotations

import os
import platform
import shutil
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from gooddrag.errors import BadInput, EditFailed
from gooddrag.files import check_writable
from gooddrag.pocket import EXAMPLES, WEIGHTS

PACKAGES = ("torch", "diffusers", "peft", "transformers", "safetensors", "jupyterlab", "ipywidgets", "matplotlib")
UNLOADABLE = (ImportError, OSError, RuntimeError)  # what importing a package raises that is missing or broken


@dataclass(frozen=True)
class Finding:
    """One line of the report."""

    what: str
    found: str
    ok: bool = True


def examine() -> list[Finding]:
    """Everything that the report shows, in its order."""
    tasks = len(list(EXAMPLES.glob("*/points.json")))
    return [
        Finding("gooddrag", _version("gooddrag") or "not installed", _version("gooddrag") is not None),
        Finding("python", f"{platform.python_version()} on {platform.system()} {platform.machine()}"),
        *(_package(name) for name in PACKAGES),
        *_machine(),
        _weights(),
        Finding("shipped tasks", f"{tasks}" if tasks else "none: git checkout gooddrag/pocket/examples", tasks > 0),
        _cache(),
        _disk(),
    ]


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _package(name: str) -> Finding:
    version = _version(name)
    return Finding(name, version or "not installed: run `make lab` or pip install -e .", version is not None)


def _machine() -> list[Finding]:
    try:
        import torch
    except UNLOADABLE as error:
        return [Finding("device", f"unknown, as torch can't be loaded ({_first_line(error)})", ok=False)]
    kind = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    name = device_name(kind) + (" (pocket needs no more)" if kind == "cpu" else "")
    return [Finding("device", name), Finding("threads", f"{torch.get_num_threads()} for computing")]


def device_name(kind: str) -> str:
    """What "cuda", "mps" or "cpu" is on this machine."""
    if kind == "cuda":
        import torch

        memory = torch.cuda.get_device_properties(0).total_memory / 2**30
        return f"cuda: {torch.cuda.get_device_name(0)}, {memory:.0f} GB"
    return "mps: Apple GPU" if kind == "mps" else f"cpu: {processor()}, {os.cpu_count()} cores"


def processor() -> str:
    """The CPU's name, where the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def versions() -> str:
    """Those that a measurement depends on, in one line."""
    names = ("gooddrag", "torch", "diffusers")
    return ", ".join([f"Python {platform.python_version()}", *(f"{name} {_version(name)}" for name in names)])


def _weights() -> Finding:
    """Can the pocket engine be loaded?"""
    try:
        from gooddrag.backbone import load_pocket
    except UNLOADABLE as error:
        return Finding("pocket weights", f"unknown, as packages are missing ({_first_line(error)})", ok=False)
    try:
        load_pocket(WEIGHTS)
    except BadInput as error:
        return Finding("pocket weights", str(error), ok=False)
    files = list(WEIGHTS.rglob("*.safetensors"))
    return Finding("pocket weights", f"{sum(p.stat().st_size for p in files) / 2**20:.0f} MB in {len(files)} files")


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]


def _cache() -> Finding:
    """How much is kept for later edits, and can it be?"""
    try:
        from gooddrag.cache import cache_folder
    except UNLOADABLE:
        return Finding("cache", "unknown, as torch or safetensors is missing", ok=False)
    folder = cache_folder()
    try:
        check_writable(folder)
    except (BadInput, EditFailed) as error:
        return Finding("cache", f"{error} Until then, every edit starts from scratch.", ok=False)
    sizes = [p.stat().st_size for p in folder.glob("*.safetensors")]
    return Finding("cache", f"{len(sizes)} files, {sum(sizes) / 2**20:.0f} MB in {folder}")


def _disk() -> Finding:
    free = shutil.disk_usage(".").free / 2**30
    return Finding("disk", f"{free:.1f} GB free here" + ("" if free > 1 else ": results may not fit"), free > 0.2)
