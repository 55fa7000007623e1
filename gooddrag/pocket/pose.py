"""Reads the creature's pose off a picture: the scene of the pocket world that looks most like it.

A small network guesses the scene, then the renderer checks: the guess is refined until its picture differs least. What
is left over says how far the picture is from anything that the world can show. Trained by `train_pose.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import load_file
from scipy.ndimage import gaussian_filter
from scipy.optimize import least_squares
from torch import Tensor, nn

from gooddrag.errors import BadInput
from gooddrag.pocket import WEIGHTS
from gooddrag.pocket.codec import to_tensor
from gooddrag.pocket.world import BACKGROUNDS, RANGES, SPECIES, Scene, landmarks, render

SIDE = 64
NAMES = tuple(RANGES)
LOW, HIGH = np.array(list(RANGES.values())).T
SLACK = 0.15  # how far a fitted scene may leave the world's ranges, as a share of each
SOFTNESS = 0.8  # px of blur before pictures are compared, so that thin edges pull from further away
STEP = 0.05  # of a parameter, where its range is -1 … 1: a fraction of a pixel, but more than rounding
ROUNDS = 20


class PoseNet(nn.Module):
    """Picture → scene: what a scene may vary, in about -1 … 1, and scores for the species and the backgrounds."""

    def __init__(self, widths: Sequence[int] = (24, 48, 96, 128)):
        super().__init__()
        layers: list[nn.Module] = []
        for before, after in zip([3, *widths], widths, strict=False):
            layers += [nn.Conv2d(before, after, 3, 2, 1), nn.GroupNorm(8, after), nn.SiLU()]
            layers += [nn.Conv2d(after, after, 3, 1, 1), nn.GroupNorm(8, after), nn.SiLU()]
        self.features = nn.Sequential(*layers)
        self.answer = nn.Sequential(
            nn.Flatten(),
            nn.Linear(widths[-1] * 16, 256),
            nn.SiLU(),
            nn.Linear(256, len(NAMES) + len(SPECIES) + len(BACKGROUNDS)),
        )

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B, 3, 64, 64) in [-1, 1] → shape (B, 8), species scores (B, 6), background scores (B, 4)."""
        shape, species, background = self.answer(self.features(images)).split(
            [len(NAMES), len(SPECIES), len(BACKGROUNDS)], dim=1
        )
        return shape, species, background


@dataclass(frozen=True, eq=False)
class Fit:
    """The scene that looks most like a picture, and what the picture has besides (H, W), in grey levels.

    Both are compared slightly blurred: an edge that is off by a tenth of a pixel is not broken.
    """

    scene: Scene
    residual: NDArray[np.float32]

    def landmarks(self, names: Sequence[str]) -> NDArray[np.float64]:
        """Where these landmarks are (n, 2), in pixels."""
        return places(self.scene, names)

    def brokenness(self, where: NDArray[np.bool_] | None = None) -> float:
        """Root mean square of what no scene explains, in grey levels, over the picture or a mask (H, W)."""
        residual = self.residual if where is None else self.residual[where]
        return float(np.sqrt((residual**2).mean()))


def places(scene: Scene, names: Sequence[str]) -> NDArray[np.float64]:
    """Where a scene's landmarks are (n, 2), in pixels."""
    found = landmarks(scene, SIDE)
    return np.array([found[name][:2] for name in names])


@lru_cache(1)
def pose_net(path: Path = WEIGHTS / "pose.safetensors") -> PoseNet:
    """The committed network.

    Raises
    ------
    BadInput
        When its weights are missing.
    """
    if not path.exists():
        raise BadInput(
            f"'{path}' is missing: restore it with `git checkout gooddrag/pocket/weights`, or train it with "
            "`python -m gooddrag.pocket.train_pose`."
        )
    net = PoseNet()
    net.load_state_dict({name: value.float() for name, value in load_file(path).items()})
    return net.eval().requires_grad_(False)


@torch.no_grad()
def guess_scenes(images: Tensor) -> list[Scene]:
    """The network's own answer for pictures (B, 3, 64, 64) in [-1, 1]."""
    shape, species, background = pose_net()(images)
    return [
        _scene(vector, list(SPECIES)[k], list(BACKGROUNDS)[b])
        for vector, k, b in zip(shape.numpy(), species.argmax(1), background.argmax(1), strict=True)
    ]


def fit_scene(image: Image.Image) -> Fit:
    """Find the scene whose picture differs least from `image` (64×64), beginning at the network's guess.

    Least squares through the renderer, with a loss that lets single broken spots count less than the whole.
    """
    picture = np.asarray(image, np.float32)
    start = guess_scenes(to_tensor(np.asarray(image)[None]))[0]
    goal = _soft(picture)

    def misfit(vector: np.ndarray) -> np.ndarray:
        scene = _scene(vector, start.species, start.background)
        return (_soft(render(scene, SIDE, 2).image * 255) - goal).ravel() / 255

    def slopes(vector: np.ndarray) -> np.ndarray:
        here = misfit(vector)
        return np.stack([(misfit(vector + step) - here) / STEP for step in STEP * np.eye(len(vector))], 1)

    limit = 1 + 2 * SLACK
    found = least_squares(
        misfit,
        shape_vector(start).clip(-limit + 1e-3, limit - 1e-3),
        bounds=(-limit, limit),
        jac=slopes,  # type: ignore[arg-type]
        loss="soft_l1",
        f_scale=0.1,
        ftol=1e-3,
        max_nfev=ROUNDS,
    )
    scene = _scene(found.x, start.species, start.background)
    residual = np.sqrt(((_soft(render(scene, SIDE).image * 255) - goal) ** 2).mean(-1))
    return Fit(scene, residual.astype(np.float32))


def _soft(picture: np.ndarray) -> np.ndarray:
    return gaussian_filter(picture, (SOFTNESS, SOFTNESS, 0))


def shape_vector(scene: Scene) -> np.ndarray:
    """Shape parameters, so that the world's ranges become -1 … 1 (8,)."""
    return (np.array([getattr(scene, name) for name in NAMES]) - LOW) / (HIGH - LOW) * 2 - 1


def _scene(vector: np.ndarray, species: str, background: str) -> Scene:
    values = LOW + (np.asarray(vector, float) + 1) / 2 * (HIGH - LOW)
    shape = dict(zip(NAMES, values.tolist(), strict=True))
    return Scene(**shape | {"mouth": max(shape["mouth"], 0.0)}, species=species, background=background)
