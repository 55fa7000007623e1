"""Exercises of 08 · Rivals."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from gooddrag.methods import GoodDrag
from gooddrag.schedule import drags_at
from gooddrag.supervision import Points, patch_sum
from lessons.exercise import Exercise, Function


def _noise(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


class Probe:
    """Stands for a GoodDrag: `with_settings` says in numbers what the changed method would do."""

    def with_settings(self, **changes: Any) -> Tensor | None:
        if any(value is ... for value in changes.values()):
            return None
        return _deeds(GoodDrag.for_pocket().with_settings(**changes))


def _deeds(method: GoodDrag) -> Tensor:
    """When it drags, how often it pulls in a drag, how fast, and what its loss says of a made-up moment."""
    there, begin, here, goal = _noise(1, 1, 3, 20, 20), [[5.0, 6.0]], [[8.0, 7.0]], [[14.0, 9.0]]
    points = Points(*map(torch.tensor, (begin, here, goal)), (20, 20))
    loss = method.loss(there, _noise(2, 1, 3, 20, 20), points, method.r1, method.beta, patch_sum)
    pace = (method.supervision_steps, method.latent_lr, method.mask_weight, method.r2, method.strength)
    return torch.tensor([float(loss), *pace, *map(float, drags_at(method.steps_to_take()))], dtype=torch.float64)


def _with(**changes: Any) -> Function:
    return lambda gooddrag: gooddrag.with_settings(**changes)


TWO: dict[str, Any] = {"schedule": "drag_then_denoise", "supervision": "standard"}
TWO_FIELDS = Exercise(
    right=_with(**TWO),
    inputs=lambda: [(Probe(),)],
    hints=(
        "one field says when to drag, the other what a patch is compared with; print(gooddrag) shows their names.",
        'schedule may be "aldd" or "drag_then_denoise", supervision "ipms" or "standard".',
    ),
    praise="That is all that lies between the two papers' ideas: when to drag, and what to compare with.",
    uses={},
    mistakes={
        "You changed the schedule alone: the patches are still compared with the original handle (IPMS).": _with(
            schedule="drag_then_denoise"
        ),
        "You changed the supervision alone: it still drags and denoises in turn (AlDD).": _with(supervision="standard"),
        "You changed J as well. DragDiffusion does pull once a drag, but then it also gets a third of the pulls.": (
            _with(**TWO, supervision_steps=1)
        ),
        "You changed the number of drags as well: then the two don't do the same amount of work.": _with(
            **TWO, drags=80
        ),
        "You changed nothing: these are GoodDrag's own fields.": _with(schedule="aldd", supervision="ipms"),
    },
)

Window = tuple[slice, ...]


def window(cell: tuple[int, int], radius: int) -> Window:
    """Index of the cells around (x, y), from −radius up to, but without, +radius."""
    x, y = cell
    return (..., slice(y - radius, y + radius), slice(x - radius, x + radius))


def _pastes() -> list[tuple[Any, ...]]:
    """One paste that overlaps with where it came from, and one that doesn't."""
    return [
        (_noise(k, 1, 4, 12, 12), (5, 6), g, 2, 0.3, 1.1, _noise(k + 5, 1, 4, 4, 4))
        for k, g in ((1, (7, 6)), (2, (9, 3)))
    ]


def _paste_like(
    left: Callable[..., Tensor] = lambda P, residue, noise: residue * P + (1 - residue**2) ** 0.5 * noise,
    put: Callable[..., Tensor] = lambda P, gain, old: gain * P,
    late: bool = False,
    swapped: bool = False,
) -> Function:
    """The paste with its decisions left open: what stays behind, what arrives, in which order, and from where."""

    def paste(
        x: Tensor, s: tuple[int, int], g: tuple[int, int], radius: int, residue: float, gain: float, noise: Tensor
    ) -> Tensor:
        x = x.clone()
        here, there = (window(g, radius), window(s, radius)) if swapped else (window(s, radius), window(g, radius))
        P = x[here].clone()
        changes = [(here, left(P, residue, noise)), (there, put(P, gain, x[there].clone()))]
        for place, values in reversed(changes) if late else changes:
            x[place] = values
        return x

    return paste


PASTE = Exercise(
    right=_paste_like(),
    inputs=_pastes,
    hints=(
        "behind stays β·P + √(1 − β²)·noise, at the target lies α·P; β is `residue`, α is `gain`.",
        "with residue 0 the old place holds noise alone; with residue 1 it stays as it was.",
    ),
    praise="A copy at the target, and noise where it was: the model has to make sense of both.",
    uses={"window": window},
    mistakes={
        "The noise lacks its root: with (1 − β) the old place is paler than its surroundings; √(1 − β²) keeps its "
        "variance.": _paste_like(lambda P, residue, noise: residue * P + (1 - residue) * noise),
        "The old place is left as it was: then the thing is there twice.": _paste_like(lambda P, residue, noise: P),
        "The gain is missing: the pasted patch is multiplied by α.": _paste_like(put=lambda P, gain, old: P),
        "The patch is added to what lies at the target: it should replace it.": _paste_like(
            put=lambda P, gain, old: old + gain * P
        ),
        "You erase after you paste: where both windows overlap, the patch belongs to the target.": _paste_like(
            late=True
        ),
        "Handle and target are swapped: the patch comes from s and goes to g.": _paste_like(swapped=True),
    },
)


def _mean(v: Tensor) -> Tensor:
    """A made-up step of a model, by no means linear."""
    return 0.9 * v + 0.2 * torch.tanh(2 * v)


def _cycles() -> list[tuple[Any, ...]]:
    return [(_mean, sigma, *(_noise(k + n, 1, 4, 3, 3) for n in range(3))) for k, sigma in ((1, 0.3), (7, 0.8))]


def _cycle_like(w: Function, step: Function = lambda mean, sigma, y, w: mean(y) + sigma * w) -> Function:
    def cycle(mean: Function, sigma: float, y: Tensor, o: Tensor, o_next: Tensor) -> Tensor:
        return step(mean, sigma, y, w(mean, sigma, y, o, o_next))

    return cycle


def _its_noise(mean: Function, sigma: float, y: Tensor, o: Tensor, o_next: Tensor) -> Tensor:
    return (o_next - mean(o)) / sigma


CYCLE = Exercise(
    right=_cycle_like(_its_noise),
    inputs=_cycles,
    hints=(
        "solve o_next = mean(o) + sigma · w for w, then take the same step for y.",
        "put y = o: then o_next must come out, exactly.",
    ),
    praise="Whatever wasn't touched comes back exactly, although every step is random.",
    mistakes={
        "You solve for y's own noise, so every y becomes o_next, and the edit is lost.": _cycle_like(
            lambda mean, sigma, y, o, o_next: (o_next - mean(y)) / sigma
        ),
        "mean() is missing around o: w is what the *model's step* leaves open.": _cycle_like(
            lambda mean, sigma, y, o, o_next: (o_next - o) / sigma
        ),
        "w isn't divided by sigma: noise is worth 1, and sigma says how much of it is used.": _cycle_like(
            lambda mean, sigma, y, o, o_next: o_next - mean(o)
        ),
        "The noise is left out of y's step: that is DDPM without its randomness.": _cycle_like(
            _its_noise, lambda mean, sigma, y, w: mean(y)
        ),
        "mean() is missing around y: the model has to take its step there too.": _cycle_like(
            _its_noise, lambda mean, sigma, y, w: y + sigma * w
        ),
        "The noise has the wrong sign: it leads away from o_next.": _cycle_like(
            lambda mean, sigma, y, o, o_next: (mean(o) - o_next) / sigma
        ),
    },
)

EXERCISES = {"two_fields": TWO_FIELDS, "paste": PASTE, "cycle": CYCLE}
