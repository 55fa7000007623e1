"""Exercises of 01 · Diffusion and inversion."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from gooddrag.diffusion import ddim_step
from lessons.exercise import Exercise, Function


def _noise(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def _one_step() -> list[tuple[Any, ...]]:
    return [
        (_noise(k, 1, 4, 3, 3), _noise(k + 9, 1, 4, 3, 3), a, b) for k, (a, b) in enumerate([(0.3, 0.5), (0.8, 0.2)])
    ]


def _step_like(x0: Function, mix: Function) -> Function:
    def step(z: Tensor, eps: Tensor, alpha_bar: float, alpha_bar_next: float) -> Tensor:
        return mix(x0(z, eps, alpha_bar), eps, alpha_bar_next)

    return step


def _x0(z: Tensor, eps: Tensor, a: float) -> Tensor:
    return (z - (1 - a) ** 0.5 * eps) / a**0.5


def _mix(x0: Tensor, eps: Tensor, a: float) -> Tensor:
    return a**0.5 * x0 + (1 - a) ** 0.5 * eps


DDIM_STEP = Exercise(
    right=ddim_step,
    inputs=_one_step,
    hints=(
        "first solve z = √ᾱ · x0 + √(1−ᾱ) · eps for x0, then mix x0 and eps again with the next ᾱ.",
        "print x0 alone: mixed with eps at the *old* level, it must give z back.",
    ),
    praise="One step of DDIM is: guess the clean latent, then go to the next level with the same noise.",
    uses={"torch": torch},
    mistakes={
        "The noise has the wrong sign when you mix: it is added, not taken away.": _step_like(
            _x0, lambda x0, eps, a: a**0.5 * x0 - (1 - a) ** 0.5 * eps
        ),
        "You add noise to find x0; it is the noise that has to come out of z.": _step_like(
            lambda z, eps, a: (z + (1 - a) ** 0.5 * eps) / a**0.5, _mix
        ),
        "The two levels are swapped: x0 belongs to alpha_bar, the mixture to alpha_bar_next.": (
            lambda z, eps, a, b: ddim_step(z, eps, b, a)
        ),
        "The roots are missing: ᾱ is a share of the *variance*, so amplitudes go with its square root.": _step_like(
            lambda z, eps, a: (z - (1 - a) * eps) / a, lambda x0, eps, a: a * x0 + (1 - a) * eps
        ),
        "You mix at the old level, and so get z back: the mixture belongs to alpha_bar_next.": lambda z, eps, a, b: z,
        "Signal and noise are swapped: √ᾱ goes with x0, √(1−ᾱ) with eps.": _step_like(
            lambda z, eps, a: (z - a**0.5 * eps) / (1 - a) ** 0.5,
            lambda x0, eps, a: (1 - a) ** 0.5 * x0 + a**0.5 * eps,
        ),
        "x0 isn't divided by √ᾱ: what is left after the noise is gone is a *faded* picture.": _step_like(
            lambda z, eps, a: z - (1 - a) ** 0.5 * eps, _mix
        ),
        "You return x0 itself; it has to be mixed with the noise of the next level.": lambda z, eps, a, b: _x0(
            z, eps, a
        ),
    },
)


def _walks() -> list[tuple[Any, ...]]:
    """A toy model: its noise prediction depends on latent and timestep, ᾱ falls with t."""

    def noise_at(z: Tensor, t: int) -> Tensor:
        return torch.tanh(z * (1 + t / 500)) + t / 1000

    def alpha_bar(t: int) -> float:
        return 0.999 ** max(t, 0) ** 1.1

    return [(_noise(5, 1, 2, 3, 3), (301, 201, 101, 1), 100, noise_at, alpha_bar)]


def _walk(order: Function, ask: Function, leave: Function, arrive: Function) -> Function:
    """Inversion with its four decisions left open: the order of timesteps, the one to ask at, and both levels."""

    def invert(
        z: Tensor, timesteps: Sequence[int], stride: int, noise_at: Function, alpha_bar: Callable[[int], float]
    ) -> Tensor:
        for t in order(timesteps):
            eps = noise_at(z, ask(t, stride))
            z = ddim_step(z, eps, alpha_bar(leave(t, stride)), alpha_bar(arrive(t, stride)))
        return z

    return invert


def _at(t: int, stride: int) -> int:
    return t


def _before(t: int, stride: int) -> int:
    return t - stride


INVERT = Exercise(
    right=_walk(reversed, _at, _before, _at),
    inputs=_walks,
    hints=(
        "go through the timesteps from the least noisy to the noisiest; each step leaves t - stride and arrives at t.",
        "write down, for the first round, which level z has before and after it, and at which t the model is asked.",
    ),
    praise="That is all of DDIM inversion: the same step, walked upwards.",
    uses={"torch": torch, "ddim_step": ddim_step},
    mistakes={
        "The model is asked at the level that you leave: a fair idea (see below), but ask where you arrive.": _walk(
            reversed, _before, _before, _at
        ),
        "You walk from noisy to clean: inversion goes the other way, so reverse the timesteps.": _walk(
            iter, _at, _before, _at
        ),
        "The levels are swapped: the step leaves ᾱ(t − stride) and arrives at ᾱ(t).": _walk(
            reversed, _at, _at, _before
        ),
        "Off by one: you arrive at t + stride, one step too noisy.": _walk(
            reversed, _at, _at, lambda t, stride: t + stride
        ),
    },
)

EXERCISES = {"ddim_step": DDIM_STEP, "invert": INVERT}
