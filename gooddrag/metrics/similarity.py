"""How much of the original is left: image fidelity by LPIPS, CLIP similarity, and what changed outside the mask.

LPIPS and CLIP need weights that don't come along; where they are missing, one sentence says how to get them.
"""

from __future__ import annotations

import warnings
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import cosine_similarity, interpolate

from gooddrag.errors import BadInput
from gooddrag.metrics.quality import iqa_metric
from gooddrag.task import DragTask

LPIPS_SIDE = 224  # px, as in DragDiffusion's script
CLIP = "openai/clip-vit-base-patch32"
CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


@torch.no_grad()
def image_fidelity(original: Image.Image, edited: Image.Image) -> float:
    """1 − LPIPS (AlexNet), higher is nearer to the original (DragDiffusion, section 5).

    Both pictures are scaled to 224 × 224 px, bilinear without antialiasing, as in the published script.
    """
    a, b = (
        interpolate(_unit(p), (LPIPS_SIDE, LPIPS_SIDE), mode="bilinear", align_corners=False)
        for p in (original, edited)
    )
    return 1 - float(iqa_metric("lpips")(b, a))


@torch.no_grad()
def clip_similarity(original: Image.Image, edited: Image.Image, weights: str = CLIP) -> float:
    """Cosine of the two pictures' CLIP embeddings (ViT-B/32, as in DragDiffusion's script), higher is more alike."""
    model = _clip(weights)
    a, b = (_embedding(model, p) for p in (original, edited))
    return float(cosine_similarity(a, b))


def outside_change(task: DragTask, edited: Image.Image) -> float:
    """RMS difference from the original outside the mask, in grey levels; NaN where everything may change."""
    if task.mask is None or task.mask.all() or edited.size != task.size:
        return float("nan")
    difference = np.asarray(edited.convert("RGB"), float) - np.asarray(task.image, float)
    return float(np.sqrt((difference[~task.mask] ** 2).mean()))


def _unit(picture: Image.Image) -> Tensor:
    """(1, 3, H, W) in 0..1."""
    return torch.from_numpy(np.array(picture.convert("RGB"), np.float32)).permute(2, 0, 1)[None] / 255


@lru_cache(1)
def _clip(weights: str) -> Any:
    from transformers import CLIPVisionModelWithProjection

    try:
        with warnings.catch_warnings(action="ignore"):
            return CLIPVisionModelWithProjection.from_pretrained(weights, use_safetensors=True).eval()
    except (OSError, ValueError) as error:
        raise BadInput(
            f"The CLIP weights '{weights}' could not be loaded: download them once on a machine with internet access "
            f"(`hf download {weights}`) and copy the Hugging Face cache here."
        ) from error


def _embedding(model: Any, picture: Image.Image) -> Tensor:
    """Shorter side to the model's, bicubic; the middle square; CLIP's own normalisation (1, D)."""
    side = model.config.image_size
    scale = side / min(picture.size)
    size = tuple(max(side, round(s * scale)) for s in picture.size)
    scaled = picture.convert("RGB").resize(size, Image.Resampling.BICUBIC)  # type: ignore[arg-type]
    left, top = (size[0] - side) // 2, (size[1] - side) // 2
    x = _unit(scaled.crop((left, top, left + side, top + side)))
    mean, std = (torch.tensor(v).reshape(1, 3, 1, 1) for v in (CLIP_MEAN, CLIP_STD))
    return model((x - mean) / std).image_embeds
