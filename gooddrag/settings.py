"""Reading what people type: orders, settings files, `name=value`, points and boxes. Every mistake gets one sentence."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image

from gooddrag.errors import BadInput
from gooddrag.region import polygon_area
from gooddrag.task import DragTask

LARGEST_FILE = 1_000_000  # bytes
RESULT_TEXTS = ("method", "backbone", "prompt", "fingerprint")  # beside the settings in a result's settings.json
RESULT_KEYS = {*RESULT_TEXTS, "settings", "gooddrag", "reached", "stopped"}


@dataclass(frozen=True)
class StoredSettings:
    """What a settings file asks for; None where it says nothing."""

    settings: dict[str, Any] = field(default_factory=dict)
    method: str | None = None
    backbone: str | None = None
    prompt: str | None = None
    fingerprint: str | None = None


@dataclass(frozen=True)
class Order:
    """What an edit is to do, as far as that is known without the engine. `changes` come on top of `settings`."""

    task: DragTask
    method: str
    backbone: str
    settings: dict[str, Any]
    changes: dict[str, Any]
    folder: Path  # where the result goes when nobody says otherwise
    fingerprint: str | None = None  # of the weights that a replayed result was made with


def read_order(
    task: Path | None = None,
    *,
    replay: Path | None = None,
    settings: Path | None = None,
    assignments: Sequence[str] = (),
    method: str | None = None,
    backbone: str | None = None,
    prompt: str = "",
) -> Order:
    """Read everything that was typed or named.

    A settings file tells method and settings, a result to `replay` its task, backbone and prompt too.
    """
    if replay is not None:
        if not (replay / "settings.json").is_file():
            raise BadInput(f"'{replay}' is no result folder (it has no settings.json): name one that an edit has left.")
        task, settings = task or replay / "task", settings or replay / "settings.json"
    if task is None:
        raise BadInput("No task was given: name a task folder, or a result folder with --replay.")
    drag_task = DragTask.read(task)
    stored = read_settings(settings) if settings is not None else StoredSettings()
    if method and stored.method and method != stored.method:
        raise BadInput(
            f"--method {method} contradicts '{settings}', which is for {stored.method}: leave one of them out."
        )
    again = stored if replay is not None else StoredSettings()
    return Order(
        task=replace(drag_task, prompt=prompt or again.prompt or drag_task.prompt),
        method=method or stored.method or "gooddrag",
        backbone=backbone or again.backbone or "pocket",
        settings=stored.settings,
        changes=parse_assignments(assignments),
        folder=Path("runs") / (f"{replay.resolve().name}-again" if replay else drag_task.name),
        fingerprint=again.fingerprint,
    )


class _Loader(yaml.SafeLoader):
    """YAML with the words and numbers of YAML 1.2: `off` is a word, 010 and 1e-3 are numbers.

    Tags are refused, as numbers and words need none, and aliases: a few lines of them can stand for more data than any
    memory holds.
    """

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - PyYAML's own way

    def compose_node(self, parent: Any, index: Any) -> Any:
        event = self.peek_event()
        if isinstance(event, yaml.AliasEvent) or getattr(event, "tag", None):
            mark: Any = event.start_mark
            raise yaml.MarkedYAMLError(problem="an alias or a tag", problem_mark=mark)
        return super().compose_node(parent, index)


for _tag, _words, _first in (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?(0|[1-9][0-9]*)", list("-+0123456789")),  # 010 counts as a float: PyYAML would read it as octal
    (
        "float",
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        list("-+.0123456789"),
    ),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(rf"(?:{_words})\Z"), _first)


def _parsed(text: str) -> Any:
    """JSON or YAML → values. Raises YAMLError, ValueError or RecursionError."""
    try:
        return json.loads(text)  # PyYAML would tear characters beyond U+FFFF apart
    except json.JSONDecodeError:
        return yaml.load(text, _Loader)


def read_settings(path: Path) -> StoredSettings:
    """Read JSON or YAML: either the settings themselves, or the settings.json that a result folder holds."""
    try:
        with path.open("rb") as file:  # never more than this, as a pipe or a device doesn't tell its size
            data = file.read(LARGEST_FILE + 1)
    except OSError as error:
        raise _unreadable(path) from error
    return parse_settings(data, path)


def parse_settings(data: bytes, path: Path) -> StoredSettings:
    """What stands in a settings file; `path` is its name, for messages."""
    if len(data) > LARGEST_FILE:
        raise BadInput(f"'{path}' is too large for a settings file: it may have 1 MB at most.")
    try:
        content = _parsed(data.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise _unreadable(path) from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f" at line {mark.line + 1}" if mark else ""
        raise BadInput(f"The settings file '{path}' is neither JSON nor YAML: there is a mistake{where}.") from error
    return _stored(content, path)


def _unreadable(path: Path) -> BadInput:
    return BadInput(f"The settings file '{path}' can't be read: check its name, and that it is a text file.")


def _stored(content: Any, path: Path) -> StoredSettings:
    settings = content["settings"] if isinstance(content, dict) and "settings" in content else content
    if not isinstance(settings, dict) or not all(isinstance(name, str) for name in [*content, *settings]):
        raise BadInput(f"The settings file '{path}' holds no settings: write lines such as 'per_denoise: 5'.")
    if settings is content:
        return StoredSettings(settings)
    strange = sorted(content.keys() - RESULT_KEYS)
    if strange:
        raise BadInput(
            f"The settings file '{path}' has '{strange[0]}' beside its 'settings': leave it out, or put it there."
        )
    texts = {name: content.get(name) for name in RESULT_TEXTS}
    for name, value in texts.items():
        if value is not None and not isinstance(value, str):
            raise BadInput(f"In the settings file '{path}' the {name} is {str(value)[:60]}: give a word in its place.")
    return StoredSettings(settings, **texts)


def parse_assignments(texts: Sequence[str]) -> dict[str, Any]:
    """["per_denoise=5", "lora.steps=20"] → {"per_denoise": 5, "lora": {"steps": 20}}; values are YAML scalars."""
    settings: dict[str, Any] = {}
    for text in texts:
        name, _, value = text.partition("=")
        if not value.strip() or not name.strip():
            raise BadInput(f"'--set {text}' has no name and value: write it as --set per_denoise=5.")
        try:
            parsed = _parsed(value)
        except (yaml.YAMLError, ValueError, RecursionError) as error:
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


def parse_drag(text: str) -> np.ndarray:
    """ "12,30:20,30" → (2, 2), handle and target in image pixels; what stands between them the handle passes by."""
    try:
        way = _points(text.split(":"))
    except ValueError as error:
        raise BadInput(f"'--drag {text}' is not a handle and a target: write it as --drag 12,30:20,30.") from error
    if len(way) < 2:
        raise BadInput(f"'--drag {text}' is not a handle and a target: write it as --drag 12,30:20,30.")
    return way


def parse_region(text: str, picture: Image.Image) -> np.ndarray:
    """ "x,y x,y x,y", the corners of a polygon, or the name of a mask's file → (H, W) bool for a picture."""
    if Path(text).is_file():
        corner = np.zeros((1, 2))
        return np.asarray(DragTask(picture, corner, corner, Path(text)).mask)  # type: ignore[arg-type]
    try:
        corners = _points(text.split())
        if not np.isfinite(corners).all():
            raise ValueError("a corner is nowhere")
    except ValueError as error:
        raise BadInput(
            f"'--region {text}' is neither corners nor a file: write corners as --region '10,10 40,10 40,30'."
        ) from error
    return polygon_area([tuple(corner) for corner in corners], picture.size)


def _points(texts: Sequence[str]) -> np.ndarray:
    """["12,30", …] → (n, 2); raises ValueError."""
    points = [[float(v) for v in text.split(",")] for text in texts]
    if not all(len(point) == 2 for point in points):
        raise ValueError("a point has two coordinates")
    return np.array(points).reshape(-1, 2)


def parse_numbers(text: str, option: str) -> list[float]:
    """ "0.7,0.8" → [0.7, 0.8]; an empty text is no number."""
    try:
        return [float(v) for v in text.split(",")] if text.strip() else []
    except ValueError as error:
        raise BadInput(f"'{option} {text}' is no list of numbers: write it as {option} 0.7,0.8.") from error


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
