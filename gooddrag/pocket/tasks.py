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
from gooddrag.files import written_together
from gooddrag.images import read_image
from gooddrag.pocket.world import Scene, in_world, landmarks, render, sample_scene
from gooddrag.task import DragTask

SIDE = 64
MARGIN = 4  # mask: pixels added around whatever changes
SHORTEST = 2.0  # px that every handle is asked to move at least
DRAWS = 2000  # scenes tried before a kind is declared impossible


@dataclass(frozen=True)
class Kind:
    """One kind of drag: how the scene changes, which landmarks are dragged, and whether a mask says what may change.

    Handles and mask together make the truth the natural answer: a turned head, for instance, brings nose and eyes and
    a mask without the body, so that shifting the whole creature is no way out.
    """

    change: Callable[[Scene, np.random.Generator], Scene]
    handles: tuple[str, ...]
    masked: bool = True


def _between(rng: np.random.Generator, low: float, high: float) -> float:
    return float(rng.uniform(low, high))


def _either(rng: np.random.Generator, low: float, high: float) -> float:
    return _between(rng, low, high) * float(rng.choice([-1, 1]))


def _moved(s: Scene, r: np.random.Generator) -> Scene:
    """Up, sideways, or both at once."""
    up, aside = ((1, 0), (0, 1), (1, 1))[r.integers(3)]
    return s.changed(x=s.x + aside * _either(r, 0.35, 0.6), y=s.y + up * _between(r, 0.28, 0.42))


FACE = ("nose", "left eye", "right eye")
EARS = ("left ear tip", "right ear tip")
WHOLE = (*FACE, "belly", "left foot", "right foot")

KINDS: dict[str, Kind] = {
    "move": Kind(_moved, WHOLE),
    "turn-head": Kind(lambda s, r: s.changed(yaw=s.yaw + _either(r, 18, 30)), FACE),
    "tilt-head": Kind(lambda s, r: s.changed(roll=s.roll + _either(r, 14, 24)), (*FACE, *EARS)),
    "open-mouth": Kind(lambda s, r: s.changed(mouth=s.mouth + _between(r, 0.6, 0.95)), ("chin",)),
    "longer-ears": Kind(lambda s, r: s.changed(ear_length=s.ear_length + _between(r, 0.15, 0.3)), EARS),
    "swing-ears": Kind(lambda s, r: s.changed(ear_angle=s.ear_angle + _either(r, 20, 34)), EARS),
    "grow": Kind(lambda s, r: s.changed(scale=s.scale * _between(r, 1.18, 1.32)), (*FACE, *EARS, "belly")),
    "turn-and-step": Kind(lambda s, r: s.changed(yaw=s.yaw + _either(r, 12, 22), x=s.x + _either(r, 0.3, 0.5)), WHOLE),
}
AMBIGUOUS: dict[str, Kind] = {  # for the lessons: more than one picture answers these, and the truth is only one
    "nose-alone": Kind(lambda s, r: s.changed(yaw=s.yaw + _either(r, 18, 30)), ("nose",), masked=False),
    "ear-alone": Kind(lambda s, r: s.changed(y=s.y + _between(r, 0.28, 0.42)), ("left ear tip",), masked=False),
    "foot-alone": Kind(lambda s, r: s.changed(x=s.x + _either(r, 0.35, 0.6)), ("left foot",), masked=False),
}
ALL_KINDS = KINDS | AMBIGUOUS


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
        facts = {"kind": self.kind, "seed": self.seed, "before": asdict(self.before), "after": asdict(self.after)}
        with written_together(folder, last="truth.json", optional=("mask.png",)) as place:
            self.task.write(place)
            self.truth.save(place / "truth.png")
            (place / "truth.json").write_text(json.dumps(facts, indent=1) + "\n")

    @property
    def dragged(self) -> tuple[str, ...]:
        """The names of the dragged landmarks, in the order of the handles."""
        return ALL_KINDS[self.kind].handles

    @classmethod
    def read(cls, folder: Path) -> KnownTask:
        """Read what `write` wrote.

        Raises
        ------
        BadInput
            When the folder is no task folder, or its truth is missing or damaged.
        """
        task = DragTask.read(folder)
        try:
            facts = json.loads((folder / "truth.json").read_text())
            before, after = Scene(**facts["before"]), Scene(**facts["after"])
            return cls(task, read_image(folder / "truth.png"), before, after, facts["kind"], facts["seed"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise BadInput(
                f"'{folder}' has no readable truth.png and truth.json: name a task with a known truth."
            ) from error


def make_task(kind: str, seed: int) -> KnownTask:
    """Draw a task of one of the `KINDS` or of the `AMBIGUOUS` ones; the same kind and seed give the same task.

    Scenes are drawn until all handles are visible before and after, stay 3 px inside the picture, and move by at least
    2 px; and until the changed scene is one that the world itself could have drawn.
    """
    if kind not in ALL_KINDS:
        raise BadInput(f"There is no task kind '{kind}': choose one of {', '.join(ALL_KINDS)}.")
    rng = np.random.default_rng([seed, *kind.encode()])
    for _ in range(DRAWS):
        before = sample_scene(rng)
        after = ALL_KINDS[kind].change(before, rng)
        points = _points(before, after, ALL_KINDS[kind].handles) if in_world(after) else None
        if points is not None:
            return _known_task(kind, seed, before, after, *points)
    raise BadInput(f"No well-posed task of kind '{kind}' was found for seed {seed}: use another seed.")


def _points(before: Scene, after: Scene, names: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray] | None:
    old, new = landmarks(before, SIDE), landmarks(after, SIDE)
    if not all(old[n][2] and new[n][2] for n in names):
        return None
    handles, targets = (np.array([where[n][:2] for n in names]) for where in (old, new))
    both = np.concatenate([handles, targets])
    if both.min() < 3 or both.max() > SIDE - 4 or np.linalg.norm(targets - handles, axis=1).min() < SHORTEST:
        return None
    return handles.round(1), targets.round(1)


def _known_task(
    kind: str, seed: int, before: Scene, after: Scene, handles: np.ndarray, targets: np.ndarray
) -> KnownTask:
    source, truth = to_image(render(before, SIDE).image), to_image(render(after, SIDE).image)
    mask = changed_region(source, truth) if ALL_KINDS[kind].masked else None
    task = DragTask(source, mask=mask, handles=handles, targets=targets, name=f"{kind}-{seed}")
    return KnownTask(task, truth, before, after, kind, seed)


def to_image(picture: NDArray[np.float32]) -> Image.Image:
    """(H, W, 3) in 0..1 → RGB picture."""
    return Image.fromarray(np.round(picture * 255).astype(np.uint8))


def changed_region(source: Image.Image, truth: Image.Image, margin: int = MARGIN) -> NDArray[np.bool_]:
    """Where two pictures differ visibly, with a margin around it (H, W) bool."""
    difference = np.abs(np.asarray(source, np.int16) - np.asarray(truth, np.int16)).max(-1) > 6
    grown = Image.fromarray(difference.astype(np.uint8) * 255).filter(ImageFilter.MaxFilter(2 * margin + 1))
    return np.asarray(grown) > 0
