"""Mean distance: where has the handle's content gone, and how far is that from the target? (DragDiffusion, section 5)

The content is found again by diffusion features (DIFT, arXiv 2306.03881): noise is added to both pictures, the U-Net
looks at them, and the pixel of the result whose features are most like the handle's is where the handle has gone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate, normalize

from gooddrag.diffusion import add_noise
from gooddrag.features import Frame
from gooddrag.task import DragTask

if TYPE_CHECKING:
    from gooddrag.backbone import Backbone

SEED = 42  # the published script's; here each picture begins with it, there each folder of results
Features = Callable[[Image.Image], Tensor]  # picture → map (1, C, h, w) that spans the whole picture


@dataclass(frozen=True, eq=False)
class MeanDistance:
    """Lengths in image px, lower is better. `found` (n, 2) is where each handle's content was found."""

    mean: float
    each: NDArray[np.float64]
    found: NDArray[np.float64]
    doubts: tuple[str, ...] = ()


def mean_distance(task: DragTask, edited: Image.Image, features: Features) -> MeanDistance:
    """Mean over the pairs of |target − pixel of `edited` that looks most like the handle did|, by cosine similarity.

    An edited picture of another size is scaled to the task's first, as in the published script. There is no search
    window, so that a handle that has vanished may be found anywhere.
    """
    doubts = _doubts(task, edited)
    if edited.size != task.size:
        edited = edited.resize(task.size, Image.Resampling.BILINEAR)
    before, after = (_enlarged(features(picture), task.size) for picture in (task.image, edited))
    x, y = np.rint(task.handles).astype(int).T
    similarity = torch.einsum("cn,chw->nhw", before[:, y, x], after)
    best = similarity.flatten(1).argmax(1).cpu().numpy()
    found = np.stack([best % task.size[0], best // task.size[0]], 1).astype(float)
    each = np.linalg.norm(found - task.targets, axis=1)
    return MeanDistance(float(each.mean()), each, found, doubts)


def _enlarged(F: Tensor, size: tuple[int, int]) -> Tensor:
    """(1, C, h, w) → (C, H, W) of unit length over the channels, bilinear between cell centres."""
    return normalize(interpolate(F.float(), size[::-1], mode="bilinear", align_corners=False)[0], dim=0)


def _doubts(task: DragTask, edited: Image.Image) -> tuple[str, ...]:
    doubts = []
    still = int((np.rint(task.handles) == np.rint(task.targets)).all(1).sum())
    if still:
        doubts.append(f"{still} pair(s) of zero length measure that nothing changed, not a drag")
    if edited.size != task.size:
        doubts.append(f"the result of {edited.width}×{edited.height} px was scaled to {task.size[0]}×{task.size[1]} px")
    return tuple(doubts)


def dift(backbone: Backbone, t: int | None = None, block: int | None = None, copies: int = 8) -> Features:
    """Diffusion features of any backbone: the output of a decoder block at timestep t, mean over noisy copies.

    Parameters
    ----------
    t
        Timestep; default 261 for Stable Diffusion, as published, and 61 for pocket.
    block
        Decoder block; default the second, as published (a sixteenth of the picture's side with Stable Diffusion), and
        the third for pocket. On the true results of 16 tuning tasks, pocket's defaults find the landmarks 1.6 px from
        where they are on average, its second block 8 px.
    copies
        Noisy copies to average over. Every picture gets the same noise, so that a picture is most like itself, and the
        result of one doesn't depend on which others were measured before. The encoder's mean is taken, not a sample.
    """
    small = backbone.working_side is not None
    t, block = (61 if small else 261) if t is None else t, (2 if small else 1) if block is None else block

    @torch.no_grad()
    def features(picture: Image.Image) -> Tensor:
        frame = Frame.fit(picture.size, backbone.latent_scale, backbone.image_multiple, backbone.working_side)
        z0 = backbone.encode(frame.to_tensor(picture))
        noise = torch.randn(copies, *z0.shape[1:], generator=torch.Generator().manual_seed(SEED)).to(z0)
        seen: list[Tensor] = []
        hook = backbone.unet.up_blocks[block].register_forward_hook(lambda *args: seen.append(args[2]))
        try:
            for eps in noise:  # one by one: eight copies at once would not fit where an edit fits
                backbone.raw_predict(add_noise(z0, eps[None], backbone.alpha_bar(t)), t)
        finally:
            hook.remove()
        return _without_padding(torch.stack(seen).float().mean(0), frame)

    return features


def _without_padding(F: Tensor, frame: Frame) -> Tensor:
    """Cut off what stands for the pixels that were added on the right and below, to the nearest cell."""
    width, height = (
        round(n * w / p) for n, w, p in zip((F.shape[3], F.shape[2]), frame.working, frame.padded, strict=True)
    )
    return F[..., : max(height, 1), : max(width, 1)]
