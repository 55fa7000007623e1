"""Reading what people type: settings files, `name=value`, points and boxes. Every mistake gets one sentence."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from gooddrag.errors import BadInput

LARGEST_FILE = 1_000_000  # bytes


@dataclass(frozen=True)
class StoredSettings:
    """What a settings file asks for; None where it says nothing."""

    settings: dict[str, Any] = field(default_factory=dict)
    method: str | None = None
    backbone: str | None = None


def read_settings(path: Path) -> StoredSettings:
    """Read JSON or YAML: either the settings themselves, or the settings.json that a result folder holds."""
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise BadInput(f"'{path}' is too large for a settings file: it may have 1 MB at most.")
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(
            f"The settings file '{path}' can't be read: check its name, and that it is a text file."
        ) from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" at line {mark.line + 1}" if mark else ""
        raise BadInput(f"The settings file '{path}' is neither JSON nor YAML: there is a mistake{where}.") from error
    if not isinstance(content, dict) or not all(isinstance(name, str) for name in content):
        raise BadInput(f"The settings file '{path}' holds no settings: write lines such as 'per_denoise: 5'.")
    if isinstance(content.get("settings"), dict):
        return StoredSettings(content["settings"], content.get("method"), content.get("backbone"))
    return StoredSettings(content)


def parse_assignments(texts: list[str]) -> dict[str, Any]:
    """["per_denoise=5", "lora.steps=20"] → {"per_denoise": 5, "lora": {"steps": 20}}; values are YAML scalars."""
    settings: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name.strip():
            raise BadInput(f"'--set {text}' has no name and value: write it as --set per_denoise=5.")
        try:
            parsed = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise BadInput(f"The value in '--set {text}' can't be read: give a number, a word or null.") from error
        outer, _, inner = name.strip().partition(".")
        if inner:
            nested = settings.setdefault(outer, {})
            if not isinstance(nested, dict):
                raise BadInput(f"'--set {text}' contradicts another --set {outer}=…: keep one of them.")
            nested[inner] = parsed
        else:
            settings[outer] = parsed
    return settings


def parse_drag(text: str) -> tuple[tuple[float, float], tuple[float, float]]:
    """ "12,30:20,30" → ((12, 30), (20, 30)), handle and target in image pixels."""
    try:
        handle, target = ([float(v) for v in point.split(",")] for point in text.split(":"))
        (x, y), (gx, gy) = handle, target
    except ValueError as error:
        raise BadInput(f"'--drag {text}' is not a handle and a target: write it as --drag 12,30:20,30.") from error
    return (x, y), (gx, gy)


def parse_box(text: str, size: tuple[int, int]) -> np.ndarray:
    """ "left,top,right,bottom" in pixels, right and bottom included → mask (H, W) bool for a picture of `size`."""
    try:
        left, top, right, bottom = (int(v) for v in text.split(","))
    except ValueError as error:
        raise BadInput(f"'--box {text}' is not a box: write it as --box left,top,right,bottom.") from error
    width, height = size
    if not (0 <= left <= right < width and 0 <= top <= bottom < height):
        raise BadInput(
            f"The box {text} does not lie inside the picture of {width}×{height} px: left ≤ right, top ≤ bottom."
        )
    mask = np.zeros((height, width), bool)
    mask[top : bottom + 1, left : right + 1] = True
    return mask
