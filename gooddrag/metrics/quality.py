"""No-reference quality: how good a picture looks by itself, by networks that were trained on people's opinions.

TReS, MUSIQ and TOPIQ come from the package pyiqa, which downloads their weights at first use. The paper found them to
agree little with people on edits (Spearman .25, −.13 and .08, its section 4), so read them beside other measures.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import torch
from PIL import Image

from gooddrag.errors import BadInput

QUALITY = {"tres": "tres", "musiq": "musiq", "topiq": "topiq_nr"}  # our names → pyiqa's; all: higher is better
LEAST_SIDE = 224  # px: TReS looks at crops of this size
SEED = 42  # TReS draws its crops


@torch.no_grad()
def quality(picture: Image.Image, name: str) -> float:
    """The score of "tres", "musiq" or "topiq", on its own scale, higher is better. The same picture, the same score."""
    x = torch.from_numpy(np.array(picture.convert("RGB"), np.float32)).permute(2, 0, 1)[None] / 255
    score = iqa_metric(QUALITY[name])
    with torch.random.fork_rng():
        torch.manual_seed(SEED)
        return float(score(x))


def quality_doubts(picture: Image.Image) -> tuple[str, ...]:
    """What stands against trusting such a score."""
    if min(picture.size) >= LEAST_SIDE:
        return ()
    return (f"the picture of {picture.width}×{picture.height} px is smaller than what these networks were trained on",)


@lru_cache
def iqa_metric(name: str) -> Any:
    """A metric of pyiqa.

    Raises
    ------
    BadInput
        When the package can't be imported, or its weights can't be had.
    """
    try:
        import pyiqa  # pyright: ignore[reportMissingImports]
    except (ImportError, RuntimeError) as error:  # a torchvision of another torch raises RuntimeError
        raise BadInput(
            "This measure needs pyiqa with a torchvision that fits your torch: "
            "pip install 'gooddrag[iqa]' (it then downloads weights at first use)."
        ) from error
    try:
        return pyiqa.create_metric(name, device="cpu")
    except Exception as error:  # downloads fail in many ways
        raise BadInput(
            f"The weights of '{name}' could not be loaded: call pyiqa.create_metric('{name}') once online, "
            "which downloads them, and copy ~/.cache/torch/hub/pyiqa here."
        ) from error
