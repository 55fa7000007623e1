"""Things worth keeping between edits of the same picture, in files named by the hash of all that they depend on."""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from gooddrag.errors import BadInput, EditFailed
from gooddrag.files import write_whole


def cache_folder() -> Path:
    """$GOODDRAG_CACHE, else the user's cache folder."""
    base = os.environ.get("GOODDRAG_CACHE")
    return Path(base) if base else Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "gooddrag"


def content_key(*parts: object) -> str:
    """A name for everything that a cached file depends on; tensors count by their bytes."""
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        data = part.detach().cpu().contiguous().numpy().tobytes() if isinstance(part, Tensor) else repr(part).encode()
        digest.update(len(data).to_bytes(8, "little") + data)
    return digest.hexdigest()


def load(kind: str, key: str) -> dict[str, Tensor] | None:
    """Tensors stored earlier, or None. An unreadable file counts as absent."""
    path = cache_folder() / f"{kind}-{key}.safetensors"
    try:
        return load_file(path) if path.exists() else None
    except (OSError, SafetensorError):
        return None


def store(kind: str, key: str, tensors: dict[str, Tensor]) -> None:
    """Keep tensors for later. A cache that can't be written (read-only, full) is done without."""
    path = cache_folder() / f"{kind}-{key}.safetensors"
    with suppress(BadInput, EditFailed, SafetensorError):
        write_whole(path, lambda part: save_file({k: v.contiguous().cpu() for k, v in tensors.items()}, part))
