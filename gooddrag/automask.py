"""A mask from the points alone: where would these drags change the picture, and where would they take what they move?

`pulled_area` asks the engine itself: which latent cells does motion supervision pull at? `object_area` asks SAM 2 for
the objects under the handles. `mask_along` sweeps either along the handles' ways.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import binary_dilation, gaussian_filter
from torch import Tensor
from torch.nn.functional import interpolate

from gooddrag.backbone import Backbone
from gooddrag.diffusion import add_noise
from gooddrag.errors import BadInput
from gooddrag.features import Frame
from gooddrag.hub import told_in_one_sentence
from gooddrag.supervision import Points, ipms_loss, patch_sum
from gooddrag.task import DragTask

Area = NDArray[np.bool_]
SHARE = 0.25  # of the strongest pull: on 16 tuning tasks, masks of it hold 96 % of what the true results change
TIMESTEP, COPIES = 261, 4  # where the pull is asked for, and under how many draws of noise
R1, BETA = 4, 4.0  # GoodDrag's own patch and step, in feature cells
# Mean and spread of colours, as SAM 2 knows them.
IMAGENET = np.array([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]], np.float32)
MARGIN = 3 / 64  # of the picture's longer side: what is added all around


def suggest_mask(backbone: Backbone, task: DragTask) -> Area:
    """A mask (H, W) for a task, from its points and the engine alone; a mask that it has is not looked at."""
    return mask_along(pulled_area(backbone, task), task)


def mask_along(area: Area, task: DragTask) -> Area:
    """What an area (H, W) that moves with the handles covers on its way, and a margin around it."""
    margin = max(1, round(MARGIN * max(task.size)))
    return np.asarray(binary_dilation(swept(area, task.ways), iterations=margin), bool)


def pulled_area(backbone: Backbone, task: DragTask, share: float = SHARE) -> Area:
    """Where the first drag would change the picture (H, W): the gradient's size |∂L/∂z| is over `share` of its largest.

    L is the IPMS loss of the unedited picture under noise, summed over a few draws of it; its gradient is large in
    those cells that the features of the patches depend on, which is more of a thing than the patches show.
    """
    frame = Frame.fit(task.size, backbone.latent_scale, backbone.image_multiple, backbone.working_side)
    z0 = backbone.encode(frame.to_tensor(task.image))
    first_stops = np.stack([way[1] for way in task.ways])
    p0, g = (frame.to_cells(points).to(z0) for points in (task.handles, first_stops))
    points = Points(p0, p0, g, frame.grid, reach=1.0)
    pull = sum(_pull(backbone, z, points) for z in _noisy(backbone, z0))
    assert isinstance(pull, Tensor)
    smooth = gaussian_filter(frame.to_map(pull), 2 / 64 * max(task.size))
    return smooth > share * smooth.max()


def _noisy(backbone: Backbone, z0: Tensor) -> Iterator[Tensor]:
    chance = torch.Generator().manual_seed(0)
    for _ in range(COPIES):
        yield add_noise(z0, torch.randn(z0.shape, generator=chance).to(z0), backbone.alpha_bar(TIMESTEP))


def _pull(backbone: Backbone, z: Tensor, points: Points) -> Tensor:
    """|∂L/∂z| summed over the channels (1, 1, h, w)."""
    z = z.requires_grad_()
    F = backbone.features(z, TIMESTEP)
    loss = ipms_loss(F, F.detach(), points, R1, BETA, patch_sum)
    return torch.autograd.grad(loss, z)[0].abs().sum(1, keepdim=True)


def swept(area: Area, ways: Sequence[NDArray[Any]]) -> Area:
    """What an area (H, W) covers while it is moved along each of the `ways` (m, 2), in image px, its start included."""
    covered, step = area.copy(), max(1.0, max(area.shape) / 64)
    offsets = {  # handles that go the same way, as a region's do, count once
        tuple(np.rint(a + share * (b - a) - way[0]).astype(int))
        for way in ways
        for a, b in pairwise(way)
        for share in np.linspace(0, 1, 1 + int(np.ceil(np.linalg.norm(b - a) / step)))
    }
    for dx, dy in offsets:
        covered |= shifted(area, dx, dy)
    return covered


def shifted(area: Area, dx: int, dy: int) -> Area:
    """The area (H, W), dx px to the right and dy px down; what leaves the picture is lost."""
    y, x = np.nonzero(area)
    x, y = x + dx, y + dy
    stays = (x >= 0) & (x < area.shape[1]) & (y >= 0) & (y < area.shape[0])
    moved = np.zeros_like(area)
    moved[y[stays], x[stays]] = True
    return moved


def object_area(model: str | Path, image: Image.Image, handles: NDArray[Any], device: str = "cpu") -> Area:
    """The objects under the handles (H, W), as SAM 2 sees them: for each handle the mask it thinks best of.

    `model` is a folder that transformers saved, or a hub id such as "facebook/sam2.1-hiera-tiny".

    Raises
    ------
    BadInput
        When there is no such model, or it finds nothing.
    """
    advice = "name a folder with SAM 2 that transformers saved, or a hub id such as facebook/sam2.1-hiera-tiny"
    with told_in_one_sentence(f"The segmentation model '{model}' could not be loaded", advice):
        from transformers import Sam2Model  # seconds, and only this needs it

        sam: Any = Sam2Model.from_pretrained(model, use_safetensors=True).to(device).eval()  # type: ignore[arg-type]
    height, width = sam.config.vision_config.backbone_config.image_size
    small = np.asarray(image.convert("RGB").resize((width, height), Image.Resampling.BILINEAR), np.float32) / 255
    pixels = torch.from_numpy((small - IMAGENET[0]) / IMAGENET[1]).permute(2, 0, 1)[None]
    points = torch.from_numpy((handles + 0.5) * (width, height) / image.size).float()[None, :, None]  # (1, n, 1, 2)
    with torch.no_grad():
        out = sam(
            pixel_values=pixels.to(device),
            input_points=points.to(device),  # one object for each handle
            input_labels=torch.ones(1, len(handles), 1, dtype=torch.int, device=device),
            multimask_output=True,
        )
    best = out.iou_scores[0].argmax(1)
    masks = out.pred_masks[0][torch.arange(len(best)), best]  # (n, h, w) logits
    area = (interpolate(masks[None].float(), image.size[::-1], mode="bilinear")[0] > 0).any(0).cpu().numpy()
    if not area.any():
        raise BadInput("The segmentation model finds no object under the handles: paint the mask, or leave --sam out.")
    return area
