"""Exercises of 06 · GoodDrag end to end."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gooddrag.schedule import Denoise, Schedule, aldd
from gooddrag.supervision import mask_loss
from lessons.exercise import Exercise, Function


def _noise(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def _pull(z: float, p: float, i: int) -> float:
    """A toy gradient step: how it moves the latent depends on where the handle was seen last."""
    return z + 0.1 * (3 - p) + 0.01 * i


def _track(z: float, p: float, i: int) -> float:
    return 0.5 * p + 0.4 * z + 0.03 * i


def _denoise(z: float, i: int) -> float:
    return 0.9 * z + 0.05 * i


def _edits() -> list[tuple[Any, ...]]:
    return [
        (1.0, 0.5, schedule, J, _pull, _track, _denoise) for schedule, J in ((aldd(5, 2, 4), 3), (aldd(4, 4, 3), 2))
    ]


def _loop(drag: Function, denoise: Function) -> Function:
    """The loop with its two branches left open; each returns z, p."""

    def edit(
        z: float, p: float, schedule: Schedule, J: int, pull: Function, track: Function, finish: Function
    ) -> float:
        for step in schedule:
            if isinstance(step, Denoise):
                z, p = denoise(z, p, step.at, finish, track)
            else:
                z, p = drag(z, p, step.at, J, pull, track)
        return z

    return edit


def _drag(z: float, p: float, i: int, J: int, pull: Function, track: Function) -> tuple[float, float]:
    for _ in range(J):
        z = pull(z, p, i)
    return z, track(z, p, i)


def _tracked_first(z: float, p: float, i: int, J: int, pull: Function, track: Function) -> tuple[float, float]:
    p = track(z, p, i)
    for _ in range(J):
        z = pull(z, p, i)
    return z, p


def _tracked_each(z: float, p: float, i: int, J: int, pull: Function, track: Function) -> tuple[float, float]:
    for _ in range(J):
        z = pull(z, p, i)
        p = track(z, p, i)
    return z, p


def _tracked_stale(z: float, p: float, i: int, J: int, pull: Function, track: Function) -> tuple[float, float]:
    before = z
    for _ in range(J):
        before, z = z, pull(z, p, i)
    return z, track(before, p, i)


def _then_denoise(z: float, p: float, i: int, denoise: Function, track: Function) -> tuple[float, float]:
    return denoise(z, i), p


def _denoised_each(
    z: float, p: float, schedule: Schedule, J: int, pull: Function, track: Function, denoise: Function
) -> float:
    for step in schedule:
        if not isinstance(step, Denoise):
            z, p = _drag(z, p, step.at, J, pull, track)
        z = denoise(z, step.at)
    return z


LOOP = Exercise(
    right=_loop(_drag, _then_denoise),
    inputs=_edits,
    hints=(
        "a drag is J pulls on z, and then one look where the handle is now; a Denoise step is one call of denoise.",
        "which z does track need to see: the one before the pulls, or the one after them?",
    ),
    praise="Pull J times, look, and when the schedule says so, denoise. That is GoodDrag's loop.",
    uses={"Denoise": Denoise},
    mistakes={
        "You track before you pull, so each drag aims from where the handle was one drag ago.": _loop(
            _tracked_first, _then_denoise
        ),
        "You track after every pull. That makes J drags of one; the J pulls share one place p.": _loop(
            _tracked_each, _then_denoise
        ),
        "You never track: the handle is pulled from where it was at the start, for ever.": _loop(
            lambda z, p, i, J, pull, track: (_drag(z, p, i, J, pull, track)[0], p), _then_denoise
        ),
        "You pull once. One step is too weak to close the gap to the *original* patch, hence J of them.": _loop(
            lambda z, p, i, J, pull, track: _drag(z, p, i, 1, pull, track), _then_denoise
        ),
        "You track in the latent from before the last pull. So does the published code, but the paper does not.": _loop(
            _tracked_stale, _then_denoise
        ),
        "You denoise in every drag as well: only a Denoise step does that, or B means nothing.": _denoised_each,
        "You track after denoising too. Wait for the next drag: the handle is looked for once a drag.": _loop(
            _drag, lambda z, p, i, denoise, track: (denoise(z, i), track(denoise(z, i), p, i))
        ),
    },
)


def _levels() -> list[tuple[Any, ...]]:
    """A latent at level i, a toy step f to the next one, the source at every level, i, and a mask.

    The source went its way by steps of its own: an editor's step holds the noise that was predicted for the edit.
    """

    def step(z: Tensor, i: int) -> Tensor:
        return (1.1 + 0.1 * i) * z - 0.2 * torch.tanh(z)

    source = [_noise(0, 1, 3, 2, 4)]
    for i in range(3):
        source.append(step(source[-1], i) + 0.3 * torch.sin(source[-1]))
    M = torch.tensor([[0.0, 1.0, 1.0, 0.0], [0.0, 0.5, 1.0, 0.0]])[None, None]
    return [(source[i] + _noise(8 + i, 1, 3, 2, 4), step, source, i, M) for i in (0, 2)]


KEEP = Exercise(
    right=lambda z, step, source, i, M: mask_loss(step(z, i), source[i + 1], M),
    inputs=_levels,
    hints=(
        "both latents are compared one denoise step on: what is the source's level after step i?",
        "f(z) is step(z, i). It arrives at level i + 1, and that is where the source has to be looked up.",
    ),
    praise="Both are compared where the next denoise step will take them.",
    mistakes={
        "You compare z itself, at its own level. The paper compares one denoise step on: step(z, i).": (
            lambda z, step, source, i, M: mask_loss(z, source[i], M)
        ),
        "Off by one level: step(z, i) arrives at level i + 1, and source[i] is a level noisier.": (
            lambda z, step, source, i, M: mask_loss(step(z, i), source[i], M)
        ),
        "The source is a level ahead: z has to take its step before the two can be compared.": (
            lambda z, step, source, i, M: mask_loss(z, source[i + 1], M)
        ),
        "You let the source take the edit's step. It has made its own, and arrived at source[i + 1].": (
            lambda z, step, source, i, M: mask_loss(step(z, i), step(source[i], i), M)
        ),
        "The source takes its step twice: source[i + 1] is where step i has led it.": (
            lambda z, step, source, i, M: mask_loss(step(z, i), step(source[i + 1], i), M)
        ),
        "You hold the *inside* of the mask in place. M is 1 where change is welcome, so weigh by 1 − M.": (
            lambda z, step, source, i, M: mask_loss(step(z, i), source[i + 1], 1 - M)
        ),
    },
)


def _attended(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return torch.softmax(q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5, dim=-1) @ v


def _tokens() -> list[tuple[Tensor, ...]]:
    """q, k, v of the edit and of the source: (heads, tokens, channels)."""
    return [tuple(_noise(10 * case + k, 2, 5, 4) for k in range(6)) for case in range(2)]


MUTUAL = Exercise(
    right=lambda q, k, v, q_src, k_src, v_src: _attended(q, k_src, v_src),
    inputs=_tokens,
    hints=(
        "the edit asks, the source answers: the queries stay the edit's own, keys and values are borrowed.",
        "softmax(q kᵀ / √channels) v, with the softmax over the keys, which is the last axis.",
    ),
    praise="The edit asks with its own queries, and the source answers.",
    uses={"torch": torch},
    mistakes={
        "This is plain self-attention: the source is not asked at all.": lambda q, k, v, *src: _attended(q, k, v),
        "Everything is the source's: that draws the source again, wherever you have dragged.": (
            lambda q, k, v, q_src, k_src, v_src: _attended(q_src, k_src, v_src)
        ),
        "The roles are swapped: the source asks and the edit answers.": (
            lambda q, k, v, q_src, k_src, v_src: _attended(q_src, k, v)
        ),
        "The keys are the source's, but the values still the edit's own: the texture is in the values.": (
            lambda q, k, v, q_src, k_src, v_src: _attended(q, k_src, v)
        ),
        "You compare with the edit's own keys; a value goes with the key beside it, so borrow both.": (
            lambda q, k, v, q_src, k_src, v_src: _attended(q, k, v_src)
        ),
        "The division by √channels is missing, so the softmax is too sure of itself.": (
            lambda q, k, v, q_src, k_src, v_src: _attended(q * q.shape[-1] ** 0.5, k_src, v_src)
        ),
        "The softmax runs over the queries. Each query shares its attention out among the keys: dim = -1.": (
            lambda q, k, v, q_src, k_src, v_src: (
                torch.softmax(q @ k_src.transpose(-1, -2) / q.shape[-1] ** 0.5, dim=-2) @ v_src
            )
        ),
    },
)

EXERCISES = {"loop": LOOP, "keep": KEEP, "mutual_attention": MUTUAL}
