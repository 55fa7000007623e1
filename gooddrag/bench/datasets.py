"""Data sets: which tasks there are, and how each is read. A sample that can't be read says why; the others still run.

A data set is "pocket:64" (tasks made on the spot), or a folder of sample folders, in categories or not: Drag100's,
DragBench's (with its pickles or re-issued as JSON and PNG), SDE-Drag's, and what `gooddrag task` writes.
"""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from itertools import count, islice
from pathlib import Path
from typing import Any

from gooddrag.bench.safe_pickle import read_pickle
from gooddrag.errors import BadInput
from gooddrag.pocket.tasks import KINDS, KnownTask, make_task
from gooddrag.task import IMAGE_NAMES, LARGEST_JSON, DragTask

TUNING, FRESH = 100, 1000  # seeds below 1000 may choose settings; those from there on are for reports only
LONGEST_NAME = 120
WHOLE = {"drag100": 100, "dragbench": 205}  # samples of the published sets


@dataclass(frozen=True)
class Sample:
    """One task of a data set, read when asked for.

    `kind` is the kind of drag where the data set says so ("turn-head"), `category` what the picture shows.
    """

    name: str
    category: str
    layout: str
    kind: str = ""
    folder: Path | None = None
    opened: Callable[[], DragTask | KnownTask] = field(repr=False, kw_only=True)

    def read(self) -> tuple[DragTask, KnownTask | None]:
        """The task, and what is known of its true result.

        Raises
        ------
        BadInput
            The sentence why it can't be read.
        """
        found = self.opened()
        task, known = (found.task, found) if isinstance(found, KnownTask) else (found, None)
        return replace(task, name=self.name), known


@dataclass(frozen=True)
class Dataset:
    """Samples in a fixed order."""

    name: str
    samples: tuple[Sample, ...] = field(repr=False)

    @property
    def published_as(self) -> str:
        """ "drag100" or "dragbench" where this is that whole set, so that published numbers may stand beside ours."""
        layouts = {sample.layout for sample in self.samples}
        return next((name for name, size in WHOLE.items() if layouts == {name} and len(self.samples) == size), "")


def open_dataset(where: str) -> Dataset:
    """Find the samples of "pocket:COUNT", "pocket:COUNT@FIRST_SEED", or of a folder; none is read yet.

    Raises
    ------
    BadInput
        When there is no such folder, or nothing in it that looks like a task.
    """
    if re.match(r"pocket(:|$)", where):
        return Dataset(where, tuple(_pocket(where)))
    root = Path(where)
    if not root.is_dir():
        raise BadInput(f"There is no data set '{where}': name a folder of task folders, or pocket:64.")
    samples = tuple(_samples(root))
    if not any(sample.layout for sample in samples):
        raise BadInput(f"'{where}' holds no tasks: name a folder of task folders, such as Drag100's.")
    return Dataset(root.resolve().name, samples)


def _pocket(where: str) -> Iterator[Sample]:
    """Every kind in turn, then every kind with the next seed."""
    wanted = re.fullmatch(r"pocket:(\d{1,6})(?:@(\d{1,9}))?", where)
    if wanted is None or not int(wanted[1]):
        raise BadInput(f"'{where}' is no data set: write pocket:64, or pocket:16@100 for seeds from 100 on.")
    each = ((kind, seed) for seed in count(int(wanted[2] or FRESH)) for kind in KINDS)
    for kind, seed in islice(each, int(wanted[1])):
        yield Sample(f"{kind}-{seed}", "creatures", "pocket", kind, opened=lambda k=kind, s=seed: make_task(k, s))


# Folders


def _samples(root: Path) -> Iterator[Sample]:
    """The root itself, its folders, or the folders in those: categories then."""
    if _layout(root):
        yield _sample(root, root, "")
        return
    for folder in _folders(root):
        inner = [] if _layout(folder) or not _stays_inside(folder, root) else list(_folders(folder))
        if not inner:
            yield _sample(folder, root, "")
        for sample in inner:
            yield _sample(sample, root, folder.name)


def _folders(place: Path) -> list[Path]:
    return sorted(p for p in place.iterdir() if p.is_dir() and not p.name.startswith((".", "__")))


def _stays_inside(path: Path, root: Path) -> bool:
    return path.resolve().is_relative_to(root.resolve())


def _sample(folder: Path, root: Path, category: str) -> Sample:
    layout = _layout(folder)
    name = f"{category}/{folder.name}" if category else folder.resolve().name if folder == root else folder.name
    return Sample(
        name=name.encode(errors="backslashreplace").decode(),
        category=category or _subject(folder.name),
        layout=layout,
        folder=folder,
        opened=lambda: _read(folder, root, name, layout),
    )


def _subject(name: str) -> str:
    """Drag100 names its folders cat_2 and generated_5_cat."""
    return re.sub(r"^generated_\d+_|[_-]\d+$", "", name)


def _layout(folder: Path) -> str:
    """Which layout a folder has, by any of its files: one of two may be missing, and then reading says so."""
    return next((name for name, (files, _) in LAYOUTS.items() if any(os.path.lexists(folder / f) for f in files)), "")


def _read(folder: Path, root: Path, name: str, layout: str) -> DragTask | KnownTask:
    """Read one sample, after a look at its name and at where its files really are."""
    if not name.isprintable() or len(name) > LONGEST_NAME or set(name) & set("\\:") or ".." in name.split("/"):
        raise BadInput(f"The name {name[:LONGEST_NAME]!r} could lead out of the data set: rename that folder.")
    if not layout:
        raise BadInput(f"'{folder}' holds neither a picture nor points of a known layout: leave it out.")
    for entry in folder.iterdir():
        if not _stays_inside(entry, root):
            raise BadInput(f"'{entry}' leads out of the data set: copy what it points to, or leave it out.")
        if not stat.S_ISREG(entry.lstat().st_mode) and not entry.resolve().is_file() and not entry.is_dir():
            raise BadInput(f"'{entry}' is neither a file nor a folder: leave it out.")
    return LAYOUTS[layout][1](folder)


def _read_task_folder(folder: Path) -> DragTask | KnownTask:
    return KnownTask.read(folder) if (folder / "truth.json").exists() else DragTask.read(folder)


def _read_dragbench(folder: Path) -> DragTask:
    """original_image.png with meta_data.pkl, or with drag_instruction.json and mask.png."""
    reissued = folder / "drag_instruction.json"
    content = _read_json(reissued) if reissued.exists() else read_pickle(folder / "meta_data.pkl")
    content = content if isinstance(content, dict) else {}
    mask = _if_there(folder / "mask.png") if reissued.exists() else content.get("mask")
    return _task(folder / "original_image.png", content, mask)


def _read_sde_drag(folder: Path) -> DragTask:
    """origin_image.png, mask.png and prompt.json, which lists handles ("source") and targets ("target") separately."""
    content = _read_json(folder / "prompt.json")
    return _task(
        folder / "origin_image.png", content if isinstance(content, dict) else {}, _if_there(folder / "mask.png")
    )


def _if_there(path: Path) -> Path | None:
    return path if os.path.lexists(path) else None


def _task(picture: Path, content: dict[str, Any], mask: Any) -> DragTask:
    handles, targets = content.get("source"), content.get("target")
    if handles is None and isinstance(content.get("points"), list | tuple):
        handles, targets = content["points"][0::2], content["points"][1::2]
    if not isinstance(handles, list | tuple) or not isinstance(targets, list | tuple):
        raise BadInput(f"'{picture.parent}' has no lists of points: they hold [x, y] for handle and target in turn.")
    if mask is not None and not isinstance(mask, Path) and not hasattr(mask, "dtype"):
        raise BadInput(
            f"The mask of '{picture.parent}' is no array: it should be one of 0 and 1, of the picture's size."
        )
    prompt = content.get("prompt", "")
    try:
        return DragTask(picture, handles, targets, mask, prompt=prompt if isinstance(prompt, str) else "")  # type: ignore[arg-type]
    except BadInput as error:
        why = str(error)
        raise BadInput(f"'{picture.parent}' can't be used: {why[0].lower()}{why[1:]}") from error


def _read_json(path: Path) -> Any:
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST_JSON + 1)
        if len(data) > LARGEST_JSON:
            raise BadInput(f"'{path}' is larger than 1 MB: such a file holds no drag task.")
        return json.loads(data)
    except (OSError, ValueError, RecursionError) as error:
        if isinstance(error, BadInput):
            raise
        raise BadInput(f"'{path}' is missing or no valid JSON: download it again.") from error


LAYOUTS: dict[str, tuple[tuple[str, ...], Callable[[Path], DragTask | KnownTask]]] = {
    "dragbench": (("original_image.png", "meta_data.pkl", "drag_instruction.json"), _read_dragbench),
    "sde-drag": (("origin_image.png", "prompt.json"), _read_sde_drag),
    "drag100": (("points.json", *IMAGE_NAMES), _read_task_folder),
}
