"""An edit as a film (MP4), made by the ffmpeg that comes with imageio-ffmpeg (the extra `video`)."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image

from gooddrag.errors import BadInput, EditFailed
from gooddrag.files import write_whole

FRAMES_PER_SECOND = 8
RESTING = 7  # so many times the first and the last frame are shown
SIDE = 512  # px, smaller pictures are enlarged to about this


def save_mp4(frames: Iterable[Image.Image], path: Path | str) -> Path:
    """Write pictures of one size as a film that any browser plays; whole or not at all.

    Raises
    ------
    BadInput
        When imageio-ffmpeg is missing, or the path can't be written.
    EditFailed
        When ffmpeg fails.
    """
    try:
        from imageio_ffmpeg import write_frames
    except ImportError as error:
        raise BadInput(
            "MP4 needs the package imageio-ffmpeg: install it with `pip install imageio-ffmpeg`, or save a GIF."
        ) from error
    first, *others = [np.asarray(picture.convert("RGB")) for picture in frames]
    *between, last = others or [first]
    height, width = (
        2 * round(s * max(1.0, SIDE / max(first.shape)) / 2) for s in first.shape[:2]
    )  # even, as films are
    options = ["-vf", f"scale={width}:{height}:flags=lanczos", "-f", "mp4"]

    def write(part: Path) -> None:
        size = first.shape[1::-1]
        film = write_frames(str(part), size, fps=FRAMES_PER_SECOND, macro_block_size=1, output_params=options)
        film.send(None)
        for frame in [first] * RESTING + between + [last] * RESTING:
            film.send(np.ascontiguousarray(frame))
        film.close()

    try:
        write_whole(Path(path), write)
    except RuntimeError as error:
        raise EditFailed(f"The film '{path}' could not be made: save a GIF instead.") from error
    return Path(path)
