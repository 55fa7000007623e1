"""How pictures and masks travel between Python and the browser: a few kilobytes of bytes, never numbers as text.

canvas.js holds the same mask code in its words; both write the same bytes for the same mask.
"""

from __future__ import annotations

import io
import struct

import numpy as np
from PIL import Image

from gooddrag.errors import BadInput
from gooddrag.images import MOST_PIXELS, read_image

RUNS, BITS = 1, 2  # how the rest of a mask is written
HEAD = struct.Struct("<BII")  # one of the above, width, height
MOST_LOSSLESS = 1_500_000  # pixels; larger pictures go as JPEG


def encode_mask(mask: np.ndarray) -> bytes:
    """Bool (H, W) → bytes.

    Row by row, the lengths of its runs, False first, as LEB128 numbers; or one bit per pixel where that is shorter.
    """
    flat = np.ascontiguousarray(mask, bool).ravel()
    height, width = mask.shape
    edges = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    start = [0, 0] if flat[0] else [0]
    runs = _numbers(np.diff(np.concatenate([start, edges, [flat.size]])))
    bits = (flat.size + 7) // 8
    if len(runs) <= bits:
        return HEAD.pack(RUNS, width, height) + runs
    return HEAD.pack(BITS, width, height) + np.packbits(flat, bitorder="little").tobytes()


def decode_mask(data: bytes | memoryview) -> np.ndarray:
    """What `encode_mask` wrote → bool (H, W).

    Raises
    ------
    BadInput
        When the bytes are no whole mask.
    """
    broken = BadInput("The mask that came from the browser is damaged: draw it again.")
    data = bytes(data)
    if len(data) < HEAD.size:
        raise broken
    kind, width, height = HEAD.unpack_from(data)
    if width * height > MOST_PIXELS:
        raise broken
    rest = np.frombuffer(data, np.uint8, offset=HEAD.size)
    if kind == BITS and len(rest) == (width * height + 7) // 8:
        flat = np.unpackbits(rest, count=width * height, bitorder="little").astype(bool)
        return flat.reshape(height, width)
    if kind != RUNS or not len(rest) or rest[-1] >= 128:
        raise broken
    runs = _from_numbers(rest)
    if runs.sum() != width * height:
        raise broken
    return np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(height, width)


def encode_picture(picture: Image.Image) -> bytes:
    """RGB picture → PNG, or where it is large a JPEG that the eye can't tell from it."""
    out = io.BytesIO()
    if picture.width * picture.height <= MOST_LOSSLESS:
        picture.save(out, "PNG", compress_level=1, icc_profile=None)
    else:
        picture.save(out, "JPEG", quality=95, subsampling=0)
    return out.getvalue()


def decode_picture(data: bytes | memoryview) -> Image.Image:
    """A picture file's bytes → upright RGB picture; raises BadInput as `read_image`."""
    return read_image(io.BytesIO(data))


def _numbers(values: np.ndarray) -> bytes:
    """Non-negative integers → LEB128: seven bits a byte, low ones first, the top bit set where more follow."""
    groups = (values[:, None] >> (7 * np.arange(5))) & 127
    length = 1 + (values[:, None] >= 1 << (7 * np.arange(1, 5))).sum(1)
    column = np.arange(5)
    groups |= np.where(column < length[:, None] - 1, 128, 0)
    return groups[column < length[:, None]].astype(np.uint8).tobytes()


def _from_numbers(data: np.ndarray) -> np.ndarray:
    last = data < 128
    index = np.concatenate([[0], np.cumsum(last)[:-1]])
    starts = np.concatenate([[0], np.flatnonzero(last)[:-1] + 1])
    place = np.minimum(np.arange(len(data)) - starts[index], 5)  # no number of ours is longer
    values = np.zeros(index[-1] + 1, np.int64)
    np.add.at(values, index, (data & 127).astype(np.int64) << (7 * place))
    return values
