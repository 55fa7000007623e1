"""Exercises of 02 · Identity LoRA."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from lessons.exercise import Exercise, Function, Verdict


def _noise(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def _linear(seed: int, size: int = 6) -> nn.Linear:
    layer = nn.Linear(size, size)
    layer.weight.data, layer.bias.data = _noise(seed, size, size), _noise(seed + 1, size)
    return layer.requires_grad_(False)


def _layers() -> list[tuple[Any, ...]]:
    return [(_noise(k, 2, 5, 6), _linear(k + 10), _noise(k + 20, 2, 6), _noise(k + 30, 6, 2)) for k in range(2)]


def _added(x: Tensor, layer: nn.Linear, down: Tensor, up: Tensor) -> Tensor:
    return layer(x) + x @ down.T @ up.T


LOW_RANK = Exercise(
    right=_added,
    inputs=_layers,
    hints=(
        "the frozen layer speaks as ever; add to its answer what becomes of x through down (to `rank` numbers) and up.",
        "down is (rank, in), so x @ down.T has `rank` numbers in its last place; then @ up.T.",
    ),
    praise="The layer itself is untouched; all that can be learned is in two thin matrices.",
    uses={"torch": torch},
    mistakes={
        "That is the correction alone: the frozen layer's own answer has to be added to it.": (
            lambda x, layer, down, up: x @ down.T @ up.T
        ),
        "The correction looks at what the layer has *answered*; it has to look at x, beside the layer.": (
            lambda x, layer, down, up: layer(x) + layer(x) @ down.T @ up.T
        ),
        "The layer's bias is lost: call layer(x) instead of multiplying with its weights.": (
            lambda x, layer, down, up: x @ (layer.weight + up @ down).T
        ),
        "You divide by the rank. Some libraries scale like that, GoodDrag's code does not: its scale is 1.": (
            lambda x, layer, down, up: layer(x) + x @ down.T @ up.T / len(down)
        ),
    },
)


class ToyBackbone(nn.Module):
    """As much of a backbone as a training step asks for; like pocket it speaks of velocity, not of noise."""

    def __init__(self):
        super().__init__()
        self.gain, self.shift = nn.Parameter(torch.tensor(0.5)), nn.Parameter(torch.tensor(0.1))

    def raw_predict(self, z: Tensor, t: Tensor) -> Tensor:
        return z * self.gain + self.shift * (t.reshape(-1, 1, 1, 1) / 500)

    def right_answer(self, z0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        level = toy_alpha_bar(t)
        return level.sqrt() * noise - (1 - level).sqrt() * z0


def toy_alpha_bar(t: Tensor) -> Tensor:
    return 0.998 ** t.reshape(-1, 1, 1, 1)


class TrainingExercise(Exercise):
    """A training step is known by the losses that it returns and by what it leaves in the model, over a few steps."""

    def verdict(self, answer: Function) -> Verdict:
        mistakes = {hint: _trained(wrong) for hint, wrong in self.mistakes.items()}
        watched = replace(self, right=_trained(self.right), mistakes=mistakes)
        return super(TrainingExercise, watched).verdict(_trained(answer))


def _trained(step: Function) -> Function:
    def train(seed: int) -> Tensor | None:
        model = ToyBackbone()
        optimiser = torch.optim.SGD(model.parameters(), lr=0.2)
        losses = []
        for k in range(4):
            z0, noise, t = _noise(seed, 2, 3, 4, 4), _noise(seed + k, 2, 3, 4, 4), torch.tensor([101, 501])
            losses.append(step(model, optimiser, z0, noise, t, toy_alpha_bar(t)))
        if any(loss is None or loss is ... for loss in losses):
            return None
        return torch.stack([torch.tensor(float(x)) for x in (*losses, model.gain.item(), model.shift.item())])

    return train


def _step_with(
    mix: Function = lambda z0, noise, a: a.sqrt() * z0 + (1 - a).sqrt() * noise,
    loss_of: Function = lambda said, wanted, noise, z0: mse_loss(said, wanted),
    forget: bool = True,
    move: bool = True,
) -> Function:
    """A training step with its decisions left open."""

    def step(backbone: Any, optimiser: Any, z0: Tensor, noise: Tensor, t: Tensor, alpha_bar: Tensor) -> float:
        said = backbone.raw_predict(mix(z0, noise, alpha_bar), t)
        loss = loss_of(said, backbone.right_answer(z0, noise, t), noise, z0)
        if forget:
            optimiser.zero_grad()
        loss.backward()
        if move:
            optimiser.step()
        return loss.item()

    return step


TRAINING_STEP = TrainingExercise(
    right=_step_with(),
    inputs=lambda: [(0,), (7,)],
    hints=(
        "mix z0 and noise as in lesson 01; the loss is the mean of (said − wanted)²; then zero_grad, backward, step.",
        "call the step several times on the same picture and noise: the loss must fall, and not ever faster.",
    ),
    praise="That is the very step in which the model was made; only that now all the pictures are this one.",
    uses={"torch": torch},
    mistakes={
        "Nothing is learned: optimiser.step() is missing, or zero_grad() wipes the gradient out before it is used.": (
            _step_with(move=False)
        ),
        "Old gradients pile up: call optimiser.zero_grad() before backward().": _step_with(forget=False),
        "The loss is a sum; take the mean, or a larger latent would mean larger steps.": _step_with(
            loss_of=lambda said, wanted, noise, z0: ((said - wanted) ** 2).sum()
        ),
        "You compare with the noise; what the model *should* say is in `wanted`, and for pocket that is a velocity.": (
            _step_with(loss_of=lambda said, wanted, noise, z0: mse_loss(said, noise))
        ),
        "You show the model the clean latent: there is nothing to find in it.": _step_with(
            mix=lambda z0, noise, a: z0 + 0 * noise
        ),
        "The roots are missing: ᾱ is a share of the *variance*, so amplitudes go with its square root.": _step_with(
            mix=lambda z0, noise, a: a * z0 + (1 - a) * noise
        ),
        "Signal and noise are swapped: √ᾱ belongs to the picture.": _step_with(
            mix=lambda z0, noise, a: a.sqrt() * noise + (1 - a).sqrt() * z0
        ),
    },
)


def _tokens() -> list[tuple[Any, ...]]:
    return [(_noise(k, 5, 6), _noise(k + 5, 5, 6), *(_linear(10 * j + k) for j in (1, 2, 3))) for k in range(2)]


def _attend(q: Tensor, k: Tensor, v: Tensor, axis: int = -1, temper: bool = True) -> Tensor:
    scores = q @ k.T / (q.shape[-1] ** 0.5 if temper else 1)
    return scores.softmax(axis) @ v


LOOK_AT_SOURCE = Exercise(
    right=lambda x, source, to_q, to_k, to_v: _attend(to_q(x), to_k(source), to_v(source)),
    inputs=_tokens,
    hints=(
        "the edit asks (queries from x), the source answers (keys and values from source).",
        "weights = softmax(Q Kᵀ / √d) over the keys, so that each row sums to 1; the answer is weights @ V.",
    ),
    praise="The edit keeps its own shape (it asks) and takes the source's texture (which answers).",
    uses={"torch": torch},
    mistakes={
        "That is ordinary self-attention: the source is never asked. Its tokens give the keys and the values.": (
            lambda x, source, q, k, v: _attend(q(x), k(x), v(x))
        ),
        "The queries come from the source: then the answer is the source itself, and the edit is lost.": (
            lambda x, source, q, k, v: _attend(q(source), k(source), v(source))
        ),
        "Only the values are the source's. Keys and values belong together: take both from it.": (
            lambda x, source, q, k, v: _attend(q(x), k(x), v(source))
        ),
        "Only the keys are the source's: you find the right place there, then copy from the edit.": (
            lambda x, source, q, k, v: _attend(q(x), k(source), v(x))
        ),
        "The scores aren't divided by √d, so one key takes nearly all.": (
            lambda x, source, q, k, v: _attend(q(x), k(source), v(source), temper=False)
        ),
        "You divide by d; it is its root, √d.": (
            lambda x, source, q, k, v: _attend(q(x) / q(x).shape[-1] ** 0.5, k(source), v(source))
        ),
        "The softmax runs over the queries; it has to run over the keys, the last axis.": (
            lambda x, source, q, k, v: _attend(q(x), k(source), v(source), axis=0)
        ),
    },
)

EXERCISES = {"low_rank": LOW_RANK, "training_step": TRAINING_STEP, "look_at_source": LOOK_AT_SOURCE}
