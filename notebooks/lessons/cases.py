"""The failure clinic's cases: each is a folder with a drag task, what went wrong with it, and what cured it.

Beside the task lie `case.json`, the failed and the cured picture with their traces, the true result and, where the cure
is another task, that task in `cure/`. `make_clinic.py` writes them; nothing here computes an edit.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from gooddrag.images import read_image
from gooddrag.methods import Method, method_for
from gooddrag.metrics.similarity import outside_change
from gooddrag.result import Result
from gooddrag.task import DragTask
from gooddrag.trace import Trace

CLINIC = Path(__file__).parents[1] / "clinic"
TEXTS = ("title", "symptom", "look", "cause", "cure", "plot", "says", "sign")


@dataclass(frozen=True, eq=False)
class Attempt:
    """An edit of a case: task, settings, and what came of it."""

    task: DragTask
    method: Method
    picture: Image.Image
    trace: Trace

    @property
    def curves(self) -> tuple[np.ndarray, np.ndarray, int]:
        """Distances (drags + 1, handles) in px, perturbation after each drag (drags,), and the drags allowed."""
        distance = np.stack([self.trace.path(k)["distance"] for k in range(len(self.task.handles))], 1)
        drags = self.trace.drags
        perturbation = drags.loc[drags["point"] == 0, "perturbation_inside"].to_numpy()
        return distance, perturbation, self.method.drags  # type: ignore[attr-defined]

    @property
    def result(self) -> Result:
        """As the editor would have handed it out, for figures and widgets that take one."""
        left = self.trace.table.groupby("point")["distance"].last()
        reached = bool((left < getattr(self.method, "reach", 0)).all())
        settings = {"method": self.method.name.lower(), "settings": self.method.model_dump(mode="json")}
        return Result(self.picture, self.trace, self.task, settings, reached)


@dataclass(frozen=True, eq=False)
class Case:
    """One failure: what you see, where to look, why, what helps.

    `plot` is the kind of picture in which it shows, `sign` the number, and `says` what its trace alone gives away.
    """

    name: str
    title: str
    symptom: str
    look: str
    cause: str
    cure: str
    plot: str
    says: str
    sign: str
    better: float  # the sign is so many times smaller when cured
    truth: Image.Image
    failed: Attempt
    cured: Attempt

    @property
    def signs(self) -> tuple[float, float]:
        """The case's number, failed and cured."""
        return tuple(SIGNS[self.sign].measure(self, attempt) for attempt in (self.failed, self.cured))  # type: ignore

    @property
    def task_changes(self) -> list[str]:
        """Which parts of the task were changed to cure it."""
        parts = {"arrows": ("handles", "targets"), "mask": ("mask",)}
        one, other = self.failed.task, self.cured.task
        return [f"the {name}" for name, fields in parts.items() if any(_differ(one, other, field) for field in fields)]

    @property
    def changes(self) -> list[str]:
        """What was changed to cure it: parts of the task, then settings."""
        before, after = (attempt.method.model_dump() for attempt in (self.failed, self.cured))
        settings = [
            f"`{name}` {_worded(before[name])} → {_worded(after[name])}"
            for name in before
            if before[name] != after[name]
        ]
        return self.task_changes + settings

    @property
    def traces(self) -> dict[str, Trace]:
        return {"failed": self.failed.trace, "cured": self.cured.trace}


def _worded(value: Any) -> str:
    """A setting's value; nested ones by their parts."""
    if isinstance(value, dict):
        return ", ".join(f"{name} {part}" for name, part in value.items())
    return "none" if value is None else f"{value}"


def _differ(one: DragTask, other: DragTask, field: str) -> bool:
    a, b = getattr(one, field), getattr(other, field)
    return (a is None) != (b is None) or not (a is None or np.array_equal(a, b))


@dataclass(frozen=True)
class Sign:
    """A number in which a failure shows: smaller is better."""

    text: str
    unit: str
    measure: Callable[[Case, Attempt], float]


def share_left(trace: Trace) -> np.ndarray:
    """What is left of each handle's way at the end (n,): 0 arrived, 1 as far as in the beginning."""
    ways = [trace.path(k)["distance"] for k in range(trace.table["point"].max() + 1)]
    return np.array([way.iloc[-1] / way.iloc[0] for way in ways])


def error_to(truth: Image.Image, picture: Image.Image, where: np.ndarray | None) -> float:
    """Root mean square difference of two pictures in grey levels, over all pixels or those of a mask (H, W)."""
    square = (np.asarray(picture, float) - np.asarray(truth, float)) ** 2
    return float(np.sqrt((square if where is None else square[where]).mean()))


def _error(case: Case, attempt: Attempt) -> float:
    return error_to(case.truth, attempt.picture, case.cured.task.mask)


def seam(picture: Image.Image, mask: np.ndarray) -> float:
    """Mean step between neighbouring pixels on either side of a mask's border (H, W), in grey levels."""
    steps = []
    for axis in (0, 1):
        across = np.diff(mask.astype(int), axis=axis) != 0
        steps.append(np.abs(np.diff(np.asarray(picture, float), axis=axis)).mean(-1)[across])
    return float(np.concatenate(steps).mean())


def _seam(_: Case, attempt: Attempt) -> float:
    return float("nan") if attempt.task.mask is None else seam(attempt.picture, attempt.task.mask)


SIGNS: Mapping[str, Sign] = {
    "left": Sign("way that is left, mean of the handles", "%", lambda _, a: 100 * share_left(a.trace).mean()),
    "worst": Sign("way that is left, worst handle", "%", lambda _, a: 100 * share_left(a.trace).max()),
    "error": Sign("error to the truth", "grey levels", _error),
    "seam": Sign("step across the mask's border", "grey levels", _seam),
    "outside": Sign(
        "change where nothing should change",
        "grey levels",
        lambda case, a: outside_change(case.cured.task, a.picture),
    ),
    "perturbation": Sign(
        "perturbation after the last drag",
        "RMS",
        lambda _, a: float(a.trace.drags["perturbation_inside"].iloc[-1]),
    ),
}


def read_case(folder: Path) -> Case:
    """Read one case. Settings go through the library's own classes, so a wrong one is refused."""
    facts = json.loads((folder / "case.json").read_text(encoding="utf-8"))
    cure = folder / "cure"
    tasks = {"failed": DragTask.read(folder), "cured": DragTask.read(cure if cure.exists() else folder)}
    attempts = {
        side: Attempt(
            tasks[side],
            method_for("gooddrag", "pocket", **facts["settings"][side]),
            read_image(folder / f"{side}.png"),
            Trace.load(folder / f"{side}.parquet"),
        )
        for side in ("failed", "cured")
    }
    texts = {name: facts[name] for name in TEXTS}
    return Case(folder.name, **texts, better=facts["better"], truth=read_image(folder / "truth.png"), **attempts)


def read_cases(clinic: Path = CLINIC) -> dict[str, Case]:
    """All cases by name, in alphabetical order."""
    return {path.parent.name: read_case(path.parent) for path in sorted(clinic.glob("*/case.json"))}
