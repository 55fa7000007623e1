"""Measures that need the true result, which only the pocket world has.

Four questions about one edit: did the landmark arrive (`handle errors`), is the picture nearer to the true one than the
source was (`psnr`, `feature_distance`), and is it still a picture that the world could show (`brokenness`)?
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from gooddrag.pocket.codec import to_tensor
from gooddrag.pocket.pose import Fit, fit_scene, pose_net
from gooddrag.pocket.tasks import KnownTask


def psnr(a: NDArray[Any], b: NDArray[Any], where: NDArray[np.bool_] | None = None) -> float:
    """Peak signal-to-noise ratio in dB of pictures (H, W, 3) in 0..255, over all pixels or those of a mask (H, W)."""
    square = (np.asarray(a, float) - np.asarray(b, float)) ** 2
    error = (square if where is None else square[where]).mean()
    return float(10 * np.log10(255**2 / error)) if error else float("inf")


@torch.no_grad()
def feature_distance(a: Image.Image, b: Image.Image) -> float:
    """Distance of two 64×64 pictures as the pose network sees them: 0 for the same, about 1 for unlike ones.

    Built like LPIPS: each layer's features are scaled to unit length over the channels, and the squared differences
    are averaged over the picture and summed over the layers; but the network knows creatures instead of photos.
    """
    x = to_tensor(np.stack([np.asarray(a), np.asarray(b)]))
    total = 0.0
    for layer in pose_net().features:
        x = layer(x)
        if isinstance(layer, torch.nn.SiLU):
            unit = x / x.norm(dim=1, keepdim=True).clamp(min=1e-6)
            total += float((unit[0] - unit[1]).square().sum(0).mean())
    return total


@dataclass(frozen=True)
class Score:
    """What is known about one edit of a `KnownTask`. Lengths in image px, brokenness in grey levels (0..255)."""

    asked_px: float  # mean distance from handle to target
    error_px: float  # mean distance from where the landmark is now, by the pose reader, to where it should be
    error_share: float  # error_px / what the same reader says of the source, which was not edited
    source_psnr: float  # inside the mask, dB
    edit_psnr: float
    source_feature_distance: float
    edit_feature_distance: float
    source_brokenness: float
    brokenness: float

    def to_dict(self) -> dict[str, float]:
        return asdict(self)


def score(known: KnownTask, edited: Image.Image, before: Fit | None = None) -> Score:
    """Measure an edit of a task with a known truth.

    The pose reader looks at the source too (or is handed what it saw there): its own small errors then stand on both
    sides of `error_share`.
    """
    task, mask = known.task, known.task.mask
    before, after = before or fit_scene(task.image), fit_scene(edited)
    reached, began = (
        np.linalg.norm(fit.landmarks(known.dragged) - task.targets, axis=1).mean() for fit in (after, before)
    )
    truth = np.asarray(known.truth)
    return Score(
        asked_px=float(task.distances.mean()),
        error_px=float(reached),
        error_share=float(reached / began),
        source_psnr=psnr(np.asarray(task.image), truth, mask),
        edit_psnr=psnr(np.asarray(edited), truth, mask),
        source_feature_distance=feature_distance(task.image, known.truth),
        edit_feature_distance=feature_distance(edited, known.truth),
        source_brokenness=before.brokenness(mask),
        brokenness=after.brokenness(mask),
    )
