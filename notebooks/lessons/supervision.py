"""Exercises of 04 · Motion supervision.

Two losses can have the same value and yet pull elsewhere (forget a `detach`, for instance), so a loss is judged by its
value *and* its gradient.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gooddrag.features import sample_patch
from lessons.exercise import Exercise, Function, Verdict

GRID = (32, 24)  # feature cells of the small maps below: wider than high, so that x and y can't be mixed up unseen
RADIUS = 1


class LossExercise(Exercise):
    """An exercise whose answers are losses: compares value and gradient with respect to the first argument."""

    def verdict(self, answer: Function) -> Verdict:
        mistakes = {hint: _with_gradient(wrong) for hint, wrong in self.mistakes.items()}
        pulled = Exercise(_with_gradient(self.right), self.inputs, self.hints, self.praise, mistakes, kind=_no_loss)
        return pulled.verdict(_with_gradient(answer))


def _no_loss(given: Any, wanted: Tensor) -> str:
    """What keeps an answer from being a loss; `wanted` is a loss with its gradient."""
    if not isinstance(given, Tensor):
        return " A loss has to stay a tensor, or no gradient can flow: no .item() and no float()."
    return "" if given.shape == wanted.shape else f" A loss is one number; yours has the shape {tuple(given.shape)}."


def _with_gradient(loss: Function) -> Function:
    """The function that returns loss and gradient in one row, (1 + numbers of the first argument,)."""

    def pulled(x: Tensor, *rest: Any) -> Any:
        x = x.clone().requires_grad_()
        value = loss(x, *rest)
        if not isinstance(value, Tensor) or value.dim():
            return value
        gradient = torch.autograd.grad(value, x)[0] if value.requires_grad else torch.zeros_like(x)
        return torch.cat([value.detach().reshape(1), gradient.flatten()])

    return pulled


def _draw(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def _patch(F: Tensor, at: Tensor) -> Tensor:
    """Patches (n, 3, 3, C) around cells (n, 2)."""
    return sample_patch(F, at, RADIUS, GRID)


P0 = torch.tensor([[10.0, 8.0], [20.0, 12.0]])
P = torch.tensor([[12.0, 9.0], [20.0, 15.0]])
TOWARDS = torch.tensor([[2.5, 1.0], [-3.0, 1.5]])


def _ways() -> list[tuple[Any, ...]]:
    """Far away, near by, and on the target."""
    goals = P + torch.tensor([[30.0, 40.0], [1.5, -2.0]]), P + torch.tensor([[0.0, 6.0], [0.0, 0.0]])
    return [(P, g, 4.0) for g in goals]


def _step(p: Tensor, g: Tensor, beta: float) -> Tensor:
    way = g - p
    distance = way.norm(dim=1, keepdim=True)
    return way / distance.clamp(min=1e-6) * distance.clamp(max=beta)


def _unit(way: Tensor) -> Tensor:
    return way / way.norm(dim=1, keepdim=True).clamp(min=1e-6)


STEP_AHEAD = Exercise(
    right=_step,
    inputs=_ways,
    hints=(
        "the way from p to g, divided by its own length, is a direction; how long may the step be at most?",
        "a handle 50 cells away takes a step of beta; one that is 1.5 cells away a step of 1.5; one that is there, 0.",
    ),
    praise="The patch goes β towards the target, and never beyond it.",
    uses={"torch": torch},
    mistakes={
        "The step leads away from the target: from p to g it is g - p.": lambda p, g, beta: -_step(p, g, beta),
        "Far handles jump: divide the way by its length first, then make it beta long.": (
            lambda p, g, beta: beta * (g - p)
        ),
        "Near the target the step is too long: it overshoots. Take the smaller of beta and the distance.": (
            lambda p, g, beta: beta * _unit(g - p)
        ),
        "That is a direction, of length 1. It has still to be made beta long (or as long as the way that is left).": (
            lambda p, g, beta: _unit(g - p)
        ),
        "You return the whole way; the step is at most beta long.": lambda p, g, beta: g - p,
        "x and y are swapped: a point is (x, y), in this order, in p and g alike.": (
            lambda p, g, beta: _step(p, g, beta).flip(-1)
        ),
        "The length is taken over all handles at once: each has a distance of its own (dim=1).": (
            lambda p, g, beta: (g - p) / (g - p).norm() * (g - p).norm().clamp(max=beta)
        ),
    },
)


def _maps() -> list[tuple[Any, ...]]:
    return [(_draw(1, 1, 5, 6, 8), P, TOWARDS, _patch)]


def _apart(a: Tensor, b: Tensor) -> Tensor:
    """Mean over channels, sum over patch and handles."""
    return (a - b).abs().mean(-1).sum()


def _standard(F: Tensor, p: Tensor, d: Tensor, patch: Function) -> Tensor:
    return _apart(patch(F, p + d), patch(F, p).detach())


STANDARD_LOSS = LossExercise(
    right=_standard,
    inputs=_maps,
    hints=(
        "the patch at p + d shall become like the patch at p. Which of the two must not move? Detach that one.",
        "look at it in three parts: what stands still, what is pulled, and how differences become one number.",
    ),
    praise="The patch one step ahead is pulled towards what the handle looks like now.",
    uses={"torch": torch},
    mistakes={
        "The value is right, the gradient isn't: without detach() the reference moves too, towards what lies ahead.": (
            lambda F, p, d, patch: _apart(patch(F, p + d), patch(F, p))
        ),
        "You detach the wrong patch: the one ahead is to change, the one at the handle to stand still.": (
            lambda F, p, d, patch: _apart(patch(F, p + d).detach(), patch(F, p))
        ),
        "Both patches are detached, so there is no gradient, and nothing moves.": (
            lambda F, p, d, patch: _standard(F.detach(), p, d, patch)
        ),
        "You take the mean over everything: sum over the patch and the handles, mean only over channels.": (
            lambda F, p, d, patch: (patch(F, p + d) - patch(F, p).detach()).abs().mean()
        ),
        "You sum over channels too: take their mean, so that the loss doesn't grow with the network's width.": (
            lambda F, p, d, patch: (patch(F, p + d) - patch(F, p).detach()).abs().sum()
        ),
        "Differences of both signs cancel: take absolute values before you add up.": (
            lambda F, p, d, patch: (patch(F, p + d) - patch(F, p).detach()).mean(-1).sum()
        ),
        "The step goes backwards: the patch *ahead* is at p + d.": lambda F, p, d, patch: _standard(F, p, -d, patch),
        "x and y are swapped: points and steps are (x, y).": (
            lambda F, p, d, patch: _standard(F, p.flip(-1), d.flip(-1), patch)
        ),
        "You square the differences: the paper takes absolute values (an L1 norm).": (
            lambda F, p, d, patch: (patch(F, p + d) - patch(F, p).detach()).square().mean(-1).sum()
        ),
    },
)


def _two_maps() -> list[tuple[Any, ...]]:
    return [(_draw(1, 1, 5, 6, 8), _draw(2, 1, 5, 6, 8), P0, P, TOWARDS, _patch)]


def _ipms(F: Tensor, F_src: Tensor, p0: Tensor, p: Tensor, d: Tensor, patch: Function) -> Tensor:
    return _apart(patch(F, p + d), patch(F_src, p0))


IPMS_LOSS = LossExercise(
    right=_ipms,
    inputs=_two_maps,
    hints=(
        "only the reference changes: which handle, and in whose features?",
        "the reference is the patch of F_src at p0. It never changes, however many drags there are.",
    ),
    praise="Whatever was lost on the way, the reference still knows what the handle looked like.",
    uses={"torch": torch},
    mistakes={
        "The reference is cut out at the current handle: in the source's features the handle lies at p0.": (
            lambda F, F_src, p0, p, d, patch: _apart(patch(F, p + d), patch(F_src, p))
        ),
        "The reference comes from the edit's features: at p0 they have changed by now. Take the source's.": (
            lambda F, F_src, p0, p, d, patch: _apart(patch(F, p + d), patch(F, p0).detach())
        ),
        "That is still the standard loss: the reference is the *original* handle in the *source's* features.": (
            lambda F, F_src, p0, p, d, patch: _standard(F, p, d, patch)
        ),
        "The step starts at the original handle: it starts where the handle is now, p + d.": (
            lambda F, F_src, p0, p, d, patch: _apart(patch(F, p0 + d), patch(F_src, p0))
        ),
        "The two maps are swapped: the edit F is pulled, the source F_src is the reference.": (
            lambda F, F_src, p0, p, d, patch: _apart(patch(F_src, p + d), patch(F, p0))
        ),
        "You take the mean over everything: sum over the patch and the handles, mean only over channels.": (
            lambda F, F_src, p0, p, d, patch: (patch(F, p + d) - patch(F_src, p0)).abs().mean()
        ),
        "The step goes backwards: the patch *ahead* is at p + d.": (
            lambda F, F_src, p0, p, d, patch: _ipms(F, F_src, p0, p, -d, patch)
        ),
        "You detach the patch ahead, so there is no gradient, and nothing moves.": (
            lambda F, F_src, p0, p, d, patch: _ipms(F.detach(), F_src, p0, p, d, patch)
        ),
    },
)


def _latents() -> list[tuple[Any, ...]]:
    M = torch.zeros(1, 1, 4, 5)
    M[..., 1:3, 1:4] = 1
    M[..., 1, 0] = 0.25
    return [(_draw(3, 1, 2, 4, 5), _draw(4, 1, 2, 4, 5), M)]


MASK_TERM = LossExercise(
    right=lambda z, z_src, M: ((z - z_src) * (1 - M)).abs().sum(),
    inputs=_latents,
    hints=(
        "M is 1 where the picture may change. Where does a change cost something?",
        "weigh the difference with 1 - M, make it positive, and add everything up.",
    ),
    praise="Inside the mask change is free; outside every bit of it costs.",
    uses={"torch": torch},
    mistakes={
        "The mask is the wrong way round: M is 1 where change is *allowed*, so weigh with 1 - M.": (
            lambda z, z_src, M: ((z - z_src) * M).abs().sum()
        ),
        "You take the mean: the paper sums, and λ = 0.1 is meant for a sum.": (
            lambda z, z_src, M: ((z - z_src) * (1 - M)).abs().mean()
        ),
        "Plus and minus cancel: take absolute values before you add up.": (
            lambda z, z_src, M: ((z - z_src) * (1 - M)).sum()
        ),
        "The mask is missing: change would cost inside of it too, where the nose shall move.": (
            lambda z, z_src, M: (z - z_src).abs().sum()
        ),
        "You square the differences: the paper takes absolute values (an L1 norm).": (
            lambda z, z_src, M: ((z - z_src) * (1 - M)).square().sum()
        ),
        "What is held fast is the latent itself; it should be its *difference* to the source.": (
            lambda z, z_src, M: (z * (1 - M)).abs().sum()
        ),
    },
)


def _bowls() -> list[tuple[Any, ...]]:
    """A latent, a loss whose gradient changes from place to place, three steps."""
    goal = _draw(6, 1, 2, 3, 3)
    return [(_draw(5, 1, 2, 3, 3), lambda z: ((z - goal).abs() ** 1.5).sum() + z.sin().sum(), 3, 0.2)]


def _pull(z: Tensor, loss_at: Function, J: int, lr: float, sign: float = 1, fresh: bool = True) -> Tensor:
    z = z.clone().requires_grad_()
    optimiser = torch.optim.Adam([z], lr=lr)
    for _ in range(J):
        if fresh:
            optimiser.zero_grad()
        (sign * loss_at(z)).backward()
        optimiser.step()
    return z.detach()


def _forgetful(z: Tensor, loss_at: Function, J: int, lr: float) -> Tensor:
    for _ in range(J):
        z = _pull(z, loss_at, 1, lr)
    return z


def _blind(z: Tensor, loss_at: Function, J: int, lr: float) -> Tensor:
    """One gradient for all steps."""
    z = z.clone().requires_grad_()
    optimiser = torch.optim.Adam([z], lr=lr)
    loss_at(z).backward()
    for _ in range(J):
        optimiser.step()
    return z.detach()


PULL = Exercise(
    right=_pull,
    inputs=_bowls,
    hints=(
        "J times: forget the old gradient, compute the loss at z and its gradient, let the optimiser make a step.",
        "with J = 1 every number of z moves by lr, against the sign of its gradient. Try that first.",
    ),
    praise="That is a drag, but for the search for the handle: J gradient steps on the latent.",
    uses={"torch": torch},
    mistakes={
        "Gradients pile up: backward() adds to the old one, so call optimiser.zero_grad() in each round.": (
            lambda z, loss_at, J, lr: _pull(z, loss_at, J, lr, fresh=False)
        ),
        "You climb: the loss has to fall. (backward() on the loss itself; the optimiser puts the minus.)": (
            lambda z, loss_at, J, lr: _pull(z, loss_at, J, lr, sign=-1)
        ),
        "One step only: there are J of them.": lambda z, loss_at, J, lr: _pull(z, loss_at, 1, lr),
        "The optimiser is made anew in each round, so Adam forgets what it has learned: make it once, before.": (
            _forgetful
        ),
        "The gradient is computed once, for all steps: compute it anew where z is by then.": _blind,
        "That is plain gradient descent; use the optimiser, as the loss's scale differs from place to place.": (
            lambda z, loss_at, J, lr: _descend(z, loss_at, J, lr)
        ),
    },
)


def _descend(z: Tensor, loss_at: Function, J: int, lr: float) -> Tensor:
    for _ in range(J):
        z = z.detach().requires_grad_()
        z = z - lr * torch.autograd.grad(loss_at(z), z)[0]
    return z.detach()


EXERCISES = {
    "step_ahead": STEP_AHEAD,
    "standard_loss": STANDARD_LOSS,
    "mask_term": MASK_TERM,
    "pull": PULL,
    "ipms_loss": IPMS_LOSS,
}
