"""Exercises of 05 · AlDD schedule."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from gooddrag.loop import perturbation
from gooddrag.schedule import Denoise, Drag, Schedule, aldd
from lessons.exercise import Exercise, Function, Verdict


class ScheduleExercise(Exercise):
    """An exercise whose answers are schedules; they are compared as rows of numbers."""

    def verdict(self, answer: Function) -> Verdict:
        return super().verdict(_in_rows(answer))


def _in_rows(answer: Function) -> Function:
    return lambda *case: _rows(answer(*case))


def _rows(steps: Any) -> Any:
    """Schedule → (steps, 2): the number of a drag, 0 for a denoise step; and the timestep index."""
    if not isinstance(steps, Sequence):
        return steps
    pairs = [(step.number if isinstance(step, Drag) else 0, step.at) for step in steps]
    return torch.tensor(pairs, dtype=torch.float64).reshape(len(pairs), 2)


def _budgets() -> list[tuple[Any, ...]]:
    """K, B and the number of timesteps: K a multiple of B, not a multiple, all at once, one by one."""
    return [(6, 2, 5), (7, 3, 4), (4, 4, 3), (3, 1, 5)]


def _full_rounds_only(drags: int, per_denoise: int, timesteps: int) -> Schedule:
    return aldd(drags - drags % per_denoise, per_denoise, timesteps)


def _without_limit(drags: int, per_denoise: int, timesteps: int) -> Schedule:
    return aldd(per_denoise * timesteps, per_denoise, timesteps)


def _denoised_after_each(drags: int, per_denoise: int, timesteps: int) -> Schedule:
    steps: list[Drag | Denoise] = []
    for step in aldd(drags, per_denoise, timesteps):
        steps += [step, Denoise(step.at)] if isinstance(step, Drag) else []
    return tuple(steps)


def _denoised_first(drags: int, per_denoise: int, timesteps: int) -> Schedule:
    order = {Denoise: 0, Drag: 1}
    return tuple(sorted(aldd(drags, per_denoise, timesteps), key=lambda step: (step.at, order[type(step)])))


def _ends_with_the_drags(drags: int, per_denoise: int, timesteps: int) -> Schedule:
    return tuple(step for step in aldd(drags, per_denoise, timesteps) if step.at * per_denoise < drags)


def _never_denoised(drags: int, per_denoise: int, timesteps: int) -> Schedule:
    return tuple(step for step in aldd(drags, per_denoise, timesteps) if isinstance(step, Drag))


def _numbered_anew(drags: int, per_denoise: int, timesteps: int) -> Schedule:
    whole = aldd(drags, per_denoise, timesteps)
    return tuple(Drag(s.number - s.at * per_denoise, s.at) if isinstance(s, Drag) else s for s in whole)


def _counted_from_0(drags: int, per_denoise: int, timesteps: int) -> Schedule:
    whole = aldd(drags, per_denoise, timesteps)
    return tuple(Drag(s.number - 1, s.at) if isinstance(s, Drag) else s for s in whole)


ALTERNATE = ScheduleExercise(
    right=_in_rows(aldd),
    inputs=_budgets,
    hints=(
        "a timestep gets B drags, or what is left of K if that is less; then one Denoise(at), with or without drags.",
        "write down K = 7, B = 3, 4 timesteps by hand: 3 + 3 + 1 + 0 drags, and 4 denoise steps.",
    ),
    praise="That list is all that AlDD is. The rest of the editor never hears of it.",
    uses={"Drag": Drag, "Denoise": Denoise},
    kind=lambda given, wanted: f" Your first schedule has {len(given)} steps; it should have {len(wanted)}.",
    mistakes={
        hint: _in_rows(wrong)
        for hint, wrong in {
            "There are no denoise steps yet: the second dots stand for a line that appends one.": _never_denoised,
            "Each timestep gets B drags, to the very end: stop when K drags are given out.": _without_limit,
            "The last few drags are lost where K is no multiple of B: a timestep may get fewer than B.": (
                _full_rounds_only
            ),
            "You denoise after every single drag. That is B = 1; denoise once, after B of them.": _denoised_after_each,
            "You denoise before you drag: the first drag would then come one level too late.": _denoised_first,
            "The schedule ends with the drags, and the picture is still noisy: denoise to the last timestep.": (
                _ends_with_the_drags
            ),
            "The numbers start anew at each timestep; drags are numbered through, from 1 to K.": _numbered_anew,
            "Drags are numbered from 1, yours from 0: count up first, then append.": _counted_from_0,
        }.items()
    },
)


def _noise(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def _edits() -> list[tuple[Tensor, Tensor, Tensor]]:
    """Two edits, and weights with soft cells, as masks on the latent grid have."""
    W = torch.tensor([[0.0, 0.0, 0.0, 0.0], [0.0, 1.0, 1.0, 0.0], [0.0, 0.5, 1.0, 0.0]])[None, None]
    return [(_noise(k, 1, 5, 3, 4), _noise(k + 9, 1, 5, 3, 4), part) for k, part in enumerate((W, 1 - W))]


def _measured(measure: Function) -> Function:
    """`measure`: difference, weights → one number."""
    return lambda z, z_src, W: measure(z - z_src, W)


def _root_mean(d: Tensor, W: Tensor) -> Tensor:
    return ((d.square().mean(1, keepdim=True) * W).sum() / W.sum()).sqrt()


PERTURBATION = Exercise(
    right=lambda z, z_src, W: perturbation(z, z_src, W)[0],
    inputs=_edits,
    hints=(
        "square the difference, take the mean over the channels (dim 1, keepdim), then that over the cells that count.",
        "a mean with weights is (square * W).sum() / W.sum(); the root comes last.",
    ),
    praise="One number says how far the edit has strayed from the source.",
    uses={"torch": torch},
    mistakes={
        "You divide by all cells. The mean is over the cells that count, so divide by W.sum().": _measured(
            lambda d, W: (d.square().mean(1, keepdim=True) * W).mean().sqrt()
        ),
        "The root is missing: this is a mean square.": _measured(lambda d, W: _root_mean(d, W) ** 2),
        "This is the mean of absolute values; take squares, so that a few large changes count.": _measured(
            lambda d, W: (d.abs().mean(1, keepdim=True) * W).sum() / W.sum()
        ),
        "You add the channels up; take their mean, or the number grows with the latent's depth.": _measured(
            lambda d, W: _root_mean(d, W) * d.shape[1] ** 0.5
        ),
        "You take the root of each cell before the mean: root last.": _measured(
            lambda d, W: (d.square().mean(1, keepdim=True).sqrt() * W).sum() / W.sum()
        ),
    },
)

EXERCISES = {"alternate": ALTERNATE, "perturbation": PERTURBATION}
