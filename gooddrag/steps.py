"""The vocabulary of an edit's stream: small frozen records of what happened, in the order in which it does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

MakePicture = Callable[[], Image.Image]


@dataclass(frozen=True)
class Step:
    """One thing that happened. `rows()` is its share of the trace."""

    def rows(self) -> list[dict[str, Any]]:
        return []


@dataclass(frozen=True)
class Learned(Step):
    """A step of identity fine-tuning."""

    step: int
    of: int
    loss: float


@dataclass(frozen=True)
class Inverted(Step):
    """A step of inversion; nothing is yielded where the source path came from the cache."""

    step: int
    of: int


@dataclass(frozen=True)
class Measured(Step):
    """A step of the edit proper, with its measurements.

    handles, targets, distances are in image pixels; `latent` (1, C, h, w) is detached. `preview()` decodes the clean
    picture that the model predicts at this moment; `finish()` denoises to the end from here. Both cost nothing unless
    called, and work only while the stream is open.
    """

    drag: int
    at: int
    t: int
    handles: np.ndarray  # (n, 2)
    targets: np.ndarray  # (n, 2)
    drift: np.ndarray  # (n,)
    perturbation: tuple[float, float]  # inside and outside the mask
    latent: Tensor = field(repr=False)
    preview: MakePicture = field(repr=False)
    finish: MakePicture = field(repr=False)

    phase = "start"
    loss_drag = float("nan")
    loss_mask = float("nan")

    @property
    def distances(self) -> np.ndarray:
        """From each handle to its target, image pixels (n,)."""
        return np.linalg.norm(self.targets - self.handles, axis=1)

    def rows(self) -> list[dict[str, Any]]:
        return [
            {
                "phase": self.phase,
                "drag": self.drag,
                "at": self.at,
                "t": self.t,
                "point": k,
                "x": x,
                "y": y,
                "target_x": gx,
                "target_y": gy,
                "distance": distance,
                "drift": drift,
                "loss_drag": self.loss_drag,
                "loss_mask": self.loss_mask,
                "perturbation_inside": self.perturbation[0],
                "perturbation_outside": self.perturbation[1],
            }
            for k, ((x, y), (gx, gy), distance, drift) in enumerate(
                zip(self.handles, self.targets, self.distances, self.drift, strict=True)
            )
        ]


@dataclass(frozen=True)
class Started(Measured):
    """The source path stands and dragging begins."""


@dataclass(frozen=True)
class Supervised(Step):
    """One of the J gradient steps of a drag that is under way. Nothing is measured: it is a place to stop at."""

    drag: int  # the one under way, from 1
    step: int
    of: int


@dataclass(frozen=True)
class Dragged(Measured):
    """One drag: J gradient steps, then tracking. `of` is the number of drags at most."""

    of: int = 0
    loss_drag: float = float("nan")
    loss_mask: float = float("nan")
    phase = "drag"


@dataclass(frozen=True)
class Denoised(Measured):
    """One DDIM step of the edit. `at` and `t` are those it left."""

    of: int = 0
    phase = "denoise"


@dataclass(frozen=True)
class Finished(Step):
    """The edited picture, of the task's size."""

    image: Image.Image = field(repr=False)
    reached: bool = False
