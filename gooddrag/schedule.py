"""When to drag and when to denoise. A schedule is data: a finite list of `Drag` and `Denoise` steps.

AlDD and drag-all-first differ here and nowhere else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gooddrag.errors import BadInput


@dataclass(frozen=True)
class Drag:
    """One drag (J supervision steps, then tracking) at timestep index `at`; `number` counts from 1."""

    number: int
    at: int


@dataclass(frozen=True)
class Denoise:
    """One DDIM step from timestep index `at` to the next one."""

    at: int


Schedule = tuple[Drag | Denoise, ...]


def aldd(drags: int = 70, per_denoise: int = 10, timesteps: int = 38) -> Schedule:
    """Alternating drag and denoising (paper, section 3.3): after every B drags one denoise step.

    Parameters
    ----------
    drags
        K, the number of drags in all.
    per_denoise
        B, the number of drags at each timestep.
    timesteps
        How many timesteps the denoising has; those left after the last drag are denoised in a row.

    Raises
    ------
    BadInput
        When a number is not positive, or the drags need more timesteps than there are.

    Examples
    --------
    >>> aldd(drags=3, per_denoise=2, timesteps=3)
    (Drag(number=1, at=0), Drag(number=2, at=0), Denoise(at=0), Drag(number=3, at=1), Denoise(at=1), Denoise(at=2))
    """
    if min(per_denoise, timesteps) < 1 or drags < 0:
        raise BadInput(
            f"A schedule of {drags} drags, {per_denoise} per denoise step, over {timesteps} timesteps is impossible: "
            "use positive numbers."
        )
    if drags > per_denoise * timesteps:
        raise BadInput(
            f"{drags} drags at {per_denoise} per denoise step need {-(-drags // per_denoise)} timesteps, but there are "
            f"{timesteps}: raise per_denoise or strength, or lower drags."
        )
    return from_counts([min(per_denoise, max(drags - at * per_denoise, 0)) for at in range(timesteps)])


def drag_then_denoise(drags: int = 80, timesteps: int = 35) -> Schedule:
    """All drags at the first timestep, then denoise: what DragDiffusion does, and what AlDD is compared with."""
    return aldd(drags, max(drags, 1), timesteps)


def from_counts(counts: Sequence[int]) -> Schedule:
    """The schedule with so many drags at each timestep, and a denoise step after them; drags are numbered through."""
    steps: list[Drag | Denoise] = []
    number = 0
    for at, count in enumerate(counts):
        steps += [Drag(number + k, at) for k in range(1, count + 1)]
        steps.append(Denoise(at))
        number += count
    return tuple(steps)


def drags_at(schedule: Schedule) -> tuple[int, ...]:
    """How many drags each timestep of a schedule gets: `from_counts` backwards."""
    counts = [0] * (1 + max((step.at for step in schedule), default=-1))
    for step in schedule:
        counts[step.at] += isinstance(step, Drag)
    return tuple(counts)
