"""Finds what to rate: result folders as edits leave them, benchmarks, folders of pictures, or a CSV file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from gooddrag.errors import BadInput
from gooddrag.metrics.gscore.protocol import Sample

PICTURES = {".png", ".jpg", ".jpeg", ".webp"}
CSV_COLUMNS = ("task", "original", "method", "edited")


@dataclass(frozen=True)
class Found:
    """One edit. Those of one `group` belong together."""

    group: str
    task: str
    original: Path
    method: str
    edited: Path
    label: str  # what tells it from another edit by the same method


def parse_edit(text: str) -> tuple[str, Path]:
    """METHOD=PICTURE → its parts."""
    method, equals, path = text.partition("=")
    if not (method and equals and path):
        raise BadInput(f"'{text}' names no edit: write METHOD=PICTURE, such as gooddrag=a.png.")
    return method, Path(path)


def read_samples(paths: Sequence[Path]) -> list[Sample]:
    """Gather the edits in `paths` by their tasks.

    Each path is a result folder (edited.png, task/, settings.json), a folder that `gooddrag bench` has filled, a folder
    with original.png or .jpg and one picture per method, a folder of such folders, or a CSV file with the columns task,
    original, method, edited (paths relative to the file).

    Raises
    ------
    BadInput
        When a path holds nothing of the kind, or files are missing.
    """
    found = [edit for path in paths for edit in _found(path)]
    groups: dict[str, list[Found]] = {}
    for edit in found:
        groups.setdefault(edit.group, []).append(edit)
    samples = [_sample(edits) for edits in groups.values()]
    if twice := _twice([sample.task for sample in samples]):
        raise BadInput(f"Two different tasks are called '{twice}': rename the folder of one.")
    return samples


def _found(path: Path) -> list[Found]:
    if path.suffix.lower() == ".csv":
        return _from_csv(path)
    if not path.is_dir():
        raise BadInput(f"There is no folder '{path}': name results, folders of pictures, or a CSV file.")
    if (path / "plan.json").is_file():
        return _in_benchmark(path)
    inside = _in_folder(path) or [edit for folder in sorted(path.iterdir()) for edit in _in_folder(folder)]
    if not inside:
        raise BadInput(
            f"'{path}' holds no edits: it should be a result folder, have original.png and a picture per method, or "
            "have such folders in it."
        )
    return inside


def _in_benchmark(folder: Path) -> list[Found]:
    """The edits that worked; methods are called as in the benchmark, so its table and the ratings can be joined."""
    try:
        keys = json.loads((folder / "plan.json").read_text(encoding="utf-8"))["units"].values()
        there = [path for path in (folder / f"rows/{key}.json" for key in keys) if path.is_file()]
        rows = [json.loads(path.read_text(encoding="utf-8")) for path in there]
        found = [
            Found(
                row["task"],
                row["sample"],
                folder / f"tasks/{row['task']}-original.png",
                row["method"],
                folder / f"pictures/{row['key']}.png",
                f"seed {row['seed']}",
            )
            for row in rows
            if row["ok"]
        ]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadInput(f"The benchmark in '{folder}' can't be read: run `gooddrag bench` on it again.") from error
    if not found:
        raise BadInput(f"The benchmark in '{folder}' has no edit that worked: let `gooddrag bench` finish one first.")
    return found


def _in_folder(folder: Path) -> list[Found]:
    if (folder / "edited.png").is_file() and (original := _original(folder / "task")):
        group = _fingerprint(original, folder / "task" / "points.json")
        return [Found(group, folder.name, original, _method(folder), folder / "edited.png", folder.name)]
    if (original := _original(folder)) is None:
        return []
    others = [path for path in sorted(folder.iterdir()) if path.suffix.lower() in PICTURES and path != original]
    not_edits = {"mask", "image_with_points", "truth"}
    return [Found(str(folder), folder.name, original, p.stem, p, p.stem) for p in others if p.stem not in not_edits]


def _original(folder: Path) -> Path | None:
    return next((path for path in sorted(folder.glob("original.*")) if path.suffix.lower() in PICTURES), None)


def _method(folder: Path) -> str:
    """The method's name by settings.json; the folder's own name where that can't be read."""
    try:
        method = json.loads((folder / "settings.json").read_text(encoding="utf-8"))["method"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return folder.name
    return method if isinstance(method, str) and method else folder.name


def _from_csv(path: Path) -> list[Found]:
    try:
        lines = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:
        raise BadInput(f"'{path}' can't be read as CSV: check the path and the file.") from error
    missing = [name for name in CSV_COLUMNS if name not in lines]
    if missing or lines.empty:
        raise BadInput(f"'{path}' lacks {', '.join(missing) or 'rows'}: it needs the columns {', '.join(CSV_COLUMNS)}.")
    return [
        Found(f"{path} {task}", task, path.parent / original, method, path.parent / edited, Path(edited).stem)
        for task, original, method, edited in lines[list(CSV_COLUMNS)].itertuples(index=False)
    ]


def _fingerprint(*paths: Path) -> str:
    """The same for results of the same picture and points, wherever they lie."""
    digest = hashlib.blake2b(digest_size=16)
    for path in paths:
        try:
            digest.update(path.read_bytes())
        except OSError as error:
            raise BadInput(f"'{path}' can't be read: check the path.") from error
    return digest.hexdigest()


def _sample(edits: Sequence[Found]) -> Sample:
    """Edits of one original; two by the same method are told apart by their folders."""
    methods = [edit.method for edit in edits]
    named = {
        edit.method if methods.count(edit.method) == 1 else f"{edit.method} ({edit.label})": edit.edited
        for edit in edits
    }
    if len(named) < len(edits):
        raise BadInput(f"The task '{edits[0].task}' has two edits called '{_twice(methods)}': rename one.")
    return Sample(edits[0].task, edits[0].original, named)


def _twice(names: Sequence[str]) -> str | None:
    return next((name for name in names if names.count(name) > 1), None)
