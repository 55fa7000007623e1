"""Exercises of 09 · Open questions."""

from __future__ import annotations

import math
from itertools import product
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gooddrag.features import sample_patch
from lessons.exercise import Exercise, Function
from lessons.supervision import LossExercise

Array = NDArray[np.float64]
GRID = (32, 24)  # feature cells of the small maps below


def _settings() -> list[tuple[Any, ...]]:
    return [(50, 70, 10), (30, 70, 18), (70, 70, 7), (30, 65, 10), (20, 8, 8)]


def _span(steps: int, drags: int, per_denoise: int) -> int:
    return math.ceil(drags / per_denoise) * (1000 // steps)


NOISE_SPAN = Exercise(
    right=_span,
    inputs=_settings,
    hints=(
        "K drags, B at each timestep: how many timesteps get drags? And how far is it from one timestep to the next, "
        "if 1000 are divided among so many steps?",
        "70 drags with B = 18 need 4 timesteps, the last one gets what is left; 30 steps are 1000 // 30 = 33 apart.",
    ),
    praise="So a change of T_max also changes over how much noise the drags are spread.",
    uses={"math": math},
    mistakes={
        "The last few drags are lost: K / B is rounded *up*, as a timestep that is not full counts too.": (
            lambda steps, drags, b: drags // b * (1000 // steps)
        ),
        "That is one timestep short: the denoise step after the last drags belongs to the way too.": (
            lambda steps, drags, b: (math.ceil(drags / b) - 1) * (1000 // steps)
        ),
        "The distance isn't a whole number: the library divides with //, so 30 steps are 33 apart, not 33.33.": (
            lambda steps, drags, b: math.ceil(drags / b) * 1000 / steps
        ),
        "You count as if each drag had a timestep of its own; B of them share one.": (
            lambda steps, drags, b: drags * (1000 // steps)
        ),
        "That is the number of timesteps. Multiply by the distance between two of them.": (
            lambda steps, drags, b: math.ceil(drags / b)
        ),
        "The more steps, the nearer they stand: the distance is 1000 // steps, not steps.": (
            lambda steps, drags, b: math.ceil(drags / b) * steps
        ),
    },
)


def all_signs(n: int) -> Array:
    """Every way to choose n signs: (2ⁿ, n) of +1 and −1."""
    return np.array(list(product([1.0, -1.0], repeat=n)))


def _differences() -> list[tuple[Any, ...]]:
    chance = np.random.default_rng(3)
    return [(chance.normal(mean, 1, n), all_signs(n)) for n, mean in ((6, 0.9), (5, -0.8), (7, 0.1), (6, -3))]


def _flipped(d: Array, signs: Array) -> Any:
    return (np.abs((signs * d).mean(1)) >= abs(d.mean()) - 1e-12).mean()


SIGN_FLIPS = Exercise(
    right=_flipped,
    inputs=_differences,
    hints=(
        "signs * d has one row for each way to flip; .mean(1) is what the mean would have been. How many of these are "
        "at least as far from 0 as the real one?",
        "count absolute values, and with >=: the real signs are among the rows, so p can never be 0.",
    ),
    praise="No bell curve was needed: only that without an effect each sign is a coin toss.",
    uses={"np": np},
    mistakes={
        "Only one side is counted: a mean that is as far *below* 0 would have surprised you as much.": (
            lambda d, signs: ((signs * d).mean(1) >= d.mean() - 1e-12).mean()
        ),
        "The real mean has no absolute value: if it is negative, everything is larger, and p comes out as 1.": (
            lambda d, signs: (np.abs((signs * d).mean(1)) >= d.mean() - 1e-12).mean()
        ),
        "> leaves out the real signs themselves, and p can become 0. Use >=.": (
            lambda d, signs: (np.abs((signs * d).mean(1)) > abs(d.mean()) + 1e-12).mean()
        ),
        "You counted how many there are; p is their share.": lambda d, signs: _flipped(d, signs) * len(signs),
        "That is the share of the means that are *nearer* to 0; p is the share of those that are as far or farther.": (
            lambda d, signs: 1 - _flipped(d, signs)
        ),
        "The means are taken along the wrong axis: one row is one way to flip, so .mean(1).": (
            lambda d, signs: (np.abs((signs * d).mean(0)) >= abs(d.mean()) - 1e-12).mean()
        ),
    },
)


def _draw(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def _patch(F: Tensor, at: Tensor) -> Tensor:
    """Patches (n, 3, 3, C) around cells (n, 2)."""
    return sample_patch(F, at, 1, GRID)


def _maps() -> list[tuple[Any, ...]]:
    return [(_draw(1, 1, 5, 6, 8), _draw(2, 1, 5, 6, 8), torch.tensor([[10.0, 8.0], [20.0, 12.0]]), _patch)]


def _hold(F: Tensor, F_src: Tensor, p0: Tensor, patch: Function) -> Tensor:
    return (patch(F, p0) - patch(F_src, p0)).abs().mean(-1).sum()


HOLD_LOSS = LossExercise(
    right=_hold,
    inputs=_maps,
    hints=(
        "it is the loss of lesson 04 with p = g = p0: nothing goes anywhere. Which map has the patch, and which "
        "the reference?",
        "absolute difference of patch(F, p0) and patch(F_src, p0), the mean over channels, the sum over all else.",
    ),
    praise="IPMS with a target that is where the handle is.",
    uses={"torch": torch},
    mistakes={
        "Both patches come from F, so the loss is 0 from the start and holds nothing: the reference is F_src.": (
            lambda F, F_src, p0, patch: (patch(F, p0) - patch(F, p0).detach()).abs().mean(-1).sum()
        ),
        "Signed differences cancel out: take .abs() before you add them up.": (
            lambda F, F_src, p0, patch: (patch(F, p0) - patch(F_src, p0)).mean(-1).sum()
        ),
        "The value is right, but no gradient gets to z: F has been detached.": (
            lambda F, F_src, p0, patch: _hold(F.detach(), F_src, p0, patch)
        ),
        "You take the mean over everything: mean over the channels (last axis), sum over patches and points.": (
            lambda F, F_src, p0, patch: (patch(F, p0) - patch(F_src, p0)).abs().mean()
        ),
        "The sum goes over the channels too: take their mean first, as everywhere in these lessons.": (
            lambda F, F_src, p0, patch: (patch(F, p0) - patch(F_src, p0)).abs().sum()
        ),
        "You squared the differences: these losses are L1, absolute values.": (
            lambda F, F_src, p0, patch: (patch(F, p0) - patch(F_src, p0)).square().mean(-1).sum()
        ),
    },
)

EXERCISES: dict[str, Exercise] = {
    "noise_span": NOISE_SPAN,
    "sign_flips": SIGN_FLIPS,
    "hold_loss": HOLD_LOSS,
}
