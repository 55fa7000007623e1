"""What `gooddrag doctor` looks at: is everything here that an edit needs?"""

from __future__ import annotations

import platform
import shutil
from dataclasses import dataclass
from importlib import metadata

import torch

from gooddrag.cache import cache_folder
from gooddrag.pocket import EXAMPLES, WEIGHTS

PACKAGES = ("torch", "diffusers", "peft", "transformers", "safetensors", "jupyterlab", "ipywidgets", "matplotlib")


@dataclass(frozen=True)
class Finding:
    """One line of the report."""

    what: str
    found: str
    ok: bool = True


def examine() -> list[Finding]:
    """Everything that the report shows, in its order."""
    return [
        Finding("gooddrag", _version("gooddrag") or "not installed", _version("gooddrag") is not None),
        Finding("python", f"{platform.python_version()} on {platform.system()} {platform.machine()}"),
        *(_package(name) for name in PACKAGES),
        Finding("device", _device()),
        Finding("threads", f"{torch.get_num_threads()} for computing"),
        _weights(),
        Finding("shipped tasks", f"{len(list(EXAMPLES.glob('*/points.json')))}", any(EXAMPLES.glob("*/points.json"))),
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


def _device() -> str:
    if torch.cuda.is_available():
        memory = torch.cuda.get_device_properties(0).total_memory / 2**30
        return f"cuda: {torch.cuda.get_device_name(0)}, {memory:.0f} GB"
    return "mps: Apple GPU" if torch.backends.mps.is_available() else "cpu (pocket needs no more)"


def _weights() -> Finding:
    files = list(WEIGHTS.rglob("*.safetensors"))
    size = sum(p.stat().st_size for p in files) / 2**20
    complete = len(files) >= 3
    found = f"{size:.0f} MB in {len(files)} files" if complete else "incomplete: git checkout gooddrag/pocket/weights"
    return Finding("pocket weights", found, complete)


def _cache() -> Finding:
    folder = cache_folder()
    files = list(folder.glob("*.safetensors")) if folder.is_dir() else []
    size = sum(p.stat().st_size for p in files) / 2**20
    return Finding("cache", f"{len(files)} files, {size:.0f} MB in {folder}")


def _disk() -> Finding:
    free = shutil.disk_usage(".").free / 2**30
    return Finding("disk", f"{free:.1f} GB free here" + ("" if free > 1 else ": results may not fit"), free > 0.2)
