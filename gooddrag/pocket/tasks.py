"""Drag tasks with a known truth: a scene, the same scene with one parameter changed, and the points that say so."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from gooddrag.errors import BadInput
from gooddrag.files import write_whole
from gooddrag.pocket.world import Scene, landmarks, render, sample_scene
from gooddrag.task import DragTask

SIDE = 64
MARGIN = 4  # mask: pixels added around whatever changes
DRAWS = 500  # scenes tried before a kind is declared impossible


@dataclass(frozen=True)
class Kind:
    """One kind of drag: how the scene changes, and which landmarks are dragged."""

    change: Callable[[Scene, np.random.Generator], Scene]
    handles: tuple[str, ...]


def _between(rng: np.random.Generator, low: float, high: float) -> float:
    return float(rng.uniform(low, high))


def _either(rng: np.random.Generator, low: float, high: float) -> float:
    return _between(rng, low, high) * float(rng.choice([-1, 1]))


WHOLE = ("nose", "left eye", "right eye", "belly", "left foot", "right foot")

KINDS: dict[str, Kind] = {
    "lift": Kind(lambda s, r: s.changed(y=s.y + _between(r, 0.28, 0.45)), WHOLE),
    "shift": Kind(lambda s, r: s.changed(x=s.x + _either(r, 0.35, 0.6)), WHOLE),
    "turn-head": Kind(lambda s, r: s.changed(yaw=s.yaw + _either(r, 18, 30)), ("nose", "left eye", "right eye")),
    "tilt-head": Kind(lambda s, r: s.changed(roll=s.roll + _either(r, 14, 24)), ("left eye", "right eye", "nose")),
    "open-mouth": Kind(lambda s, r: s.changed(mouth=s.mouth + _between(r, 0.6, 0.9)), ("chin",)),
    "longer-ears": Kind(
        lambda s, r: s.changed(ear_length=s.ear_length + _between(r, 0.2, 0.35)), ("left ear tip", "right ear tip")
    ),
    "grow": Kind(lambda s, r: s.changed(scale=s.scale * _between(r, 1.15, 1.25)), ("nose", "left eye", "right eye")),
}


@dataclass(frozen=True, eq=False)
class KnownTask:
    """A drag task whose true result is known: `truth` is the picture of `after`."""

    task: DragTask
    truth: Image.Image
    before: Scene
    after: Scene
    kind: str
    seed: int

    def write(self, folder: Path) -> None:
        """An ordinary task folder, plus truth.png and truth.json."""
        self.task.write(folder)
        write_whole(folder / "truth.png", lambda part: self.truth.save(part, "PNG"))
        facts = {"kind": self.kind, "seed": self.seed, "before": asdict(self.before), "after": asdict(self.after)}
        write_whole(folder / "truth.json", lambda part: part.write_text(json.dumps(facts, indent=1) + "\n"))


def make_task(kind: str, seed: int) -> KnownTask:
    """Draw a task of a kind; the same kind and seed give the same task.

    Scenes are drawn until all handles are visible before and after, stay 3 px inside the picture, and move by at least
    2.5 px; and until the changed scene is one that the world itself could have drawn.
    """
    if kind not in KINDS:
        raise BadInput(f"There is no task kind '{kind}': choose one of {', '.join(KINDS)}.")
    rng = np.random.default_rng([seed, sorted(KINDS).index(kind), 7])
    for _ in range(DRAWS):
        before = sample_scene(rng)
        after = KINDS[kind].change(before, rng)
        points = _points(before, after, KINDS[kind].handles) if _in_world(after) else None
        if points is not None:
            return _known_task(kind, seed, before, after, *points)
    raise BadInput(f"No well-posed task of kind '{kind}' was found for seed {seed}: use another seed.")


def _in_world(s: Scene) -> bool:
    return (
        abs(s.x) <= 0.65
        and 0 <= s.y <= 0.6
        and 0.8 <= s.scale <= 1.08
        and abs(s.yaw) <= 35
        and abs(s.roll) <= 18
        and 0 <= s.mouth <= 1
        and s.ear_length <= 0.8
    )


def _points(before: Scene, after: Scene, names: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray] | None:
    old, new = landmarks(before, SIDE), landmarks(after, SIDE)
    if not all(old[n][2] and new[n][2] for n in names):
        return None
    handles, targets = (np.array([where[n][:2] for n in names]) for where in (old, new))
    both = np.concatenate([handles, targets])
    if both.min() < 3 or both.max() > SIDE - 4 or np.linalg.norm(targets - handles, axis=1).min() < 2.5:
        return None
    return handles.round(1), targets.round(1)


def _known_task(
    kind: str, seed: int, before: Scene, after: Scene, handles: np.ndarray, targets: np.ndarray
) -> KnownTask:
    source, truth = to_image(render(before, SIDE).image), to_image(render(after, SIDE).image)
    task = DragTask(source, mask=changed_region(source, truth), handles=handles, targets=targets, name=f"{kind}-{seed}")
    return KnownTask(task, truth, before, after, kind, seed)


def to_image(picture: NDArray[np.float32]) -> Image.Image:
    """(H, W, 3) in 0..1 → RGB picture."""
    return Image.fromarray(np.round(picture * 255).astype(np.uint8))


def changed_region(source: Image.Image, truth: Image.Image, margin: int = MARGIN) -> NDArray[np.bool_]:
    """Where two pictures differ visibly, with a margin around it (H, W) bool."""
    difference = np.abs(np.asarray(source, np.int16) - np.asarray(truth, np.int16)).max(-1) > 6
    grown = Image.fromarray(difference.astype(np.uint8) * 255).filter(ImageFilter.MaxFilter(2 * margin + 1))
    return np.asarray(grown) > 0
