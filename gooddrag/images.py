"""Reading pictures as people have them: rotated by EXIF, with alpha, 16 bit, palettes, CMYK; or broken."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import IO

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from gooddrag.errors import BadInput

MOST_PIXELS = 40_000_000
LEAST_SIDE = 16


def read_image(source: Path | str | IO[bytes]) -> Image.Image:
    """Read a picture as upright 8-bit RGB.

    EXIF rotation is applied, alpha is put on white, 16 bit is scaled to 8, an animation gives its first frame.

    Raises
    ------
    BadInput
        When there is no such file, it is no picture or a damaged one, or it is too large or too small.
    """
    name = str(source) if isinstance(source, str | Path) else "the picture"
    if isinstance(source, str | Path):
        if os.path.isdir(source):
            raise BadInput(f"'{name}' is a folder, not a picture: name the picture file itself.")
        if not os.path.exists(source):
            raise BadInput(f"There is no picture '{name}': check the path.")
    try:
        with (
            warnings.catch_warnings(action="error", category=Image.DecompressionBombWarning),
            Image.open(source) as picture,
        ):
            check_size(picture.size, name)
            upright = ImageOps.exif_transpose(picture)
            return to_rgb(upright)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise BadInput(f"'{name}' is far too large: scale it to {MOST_PIXELS // 10**6} megapixels at most.") from error
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, EOFError, RuntimeError, MemoryError) as error:
        if isinstance(error, BadInput):
            raise
        raise BadInput(f"'{name}' is not a picture, or a damaged one: save it again as PNG or JPEG.") from error


def check_size(size: tuple[int, int], name: str = "the picture") -> None:
    """Refuse sizes (width, height) that can't be edited."""
    width, height = size
    if width * height > MOST_PIXELS:
        raise BadInput(
            f"'{name}' has {width}×{height} px, which is too large: scale it to "
            f"{MOST_PIXELS // 10**6} megapixels at most."
        )
    if min(size) < LEAST_SIDE:
        raise BadInput(
            f"'{name}' has {width}×{height} px, which is too small: it needs at least {LEAST_SIDE} px on each side."
        )


def to_rgb(picture: Image.Image) -> Image.Image:
    """Any mode → 8-bit RGB, alpha on white, wide greys scaled (not clipped) to 8 bit."""
    if picture.mode == "F" or picture.mode.startswith("I"):
        values = np.asarray(picture, np.float64)
        brightest = values.max(initial=0)
        top = 65535.0 if picture.mode.startswith("I;16") or brightest > 255 else 255.0 if brightest > 1 else 1.0
        picture = Image.fromarray(np.round(values.clip(0, top) / top * 255).astype(np.uint8))
    if picture.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in picture.info:
        layer = picture.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")
    return picture.convert("RGB")


def from_array(array: np.ndarray) -> Image.Image:
    """(H, W, 3) uint8, or float in 0..1 → RGB picture."""
    if array.ndim != 3 or array.shape[2] != 3:
        raise BadInput(f"A picture array must have the shape (height, width, 3), not {array.shape}.")
    if array.dtype == np.uint8:
        return Image.fromarray(array)
    if not np.issubdtype(array.dtype, np.floating):
        raise BadInput(f"A picture array must hold uint8 or floats in 0..1, not {array.dtype}.")
    if not np.isfinite(array).all():
        raise BadInput("The picture array holds NaN or infinite values: mend them first.")
    if array.min() < 0 or array.max() > 1:
        low, high = array.min(), array.max()
        raise BadInput(f"A float picture array must lie in 0..1, not {low:.3g}..{high:.3g}: divide by 255.")
    return Image.fromarray(np.round(array * 255).astype(np.uint8))
