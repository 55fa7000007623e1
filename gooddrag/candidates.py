"""Several answers to one task: the same method with other seeds and strengths, and a sheet to choose from."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any, TypeVar

from PIL import Image, ImageDraw, ImageFont, ImageOps

from gooddrag.errors import BadInput
from gooddrag.methods import Method
from gooddrag.task import DragTask

M = TypeVar("M", bound=Method)
MOST = 64
TILE, LABEL = 256, 20  # px


def variants(method: M, task: DragTask, seeds: int = 1, strengths: Sequence[float] = ()) -> list[M]:
    """For a task, the method with `seeds` seeds from its own on, at each of the strengths (none: its own).

    Raises
    ------
    BadInput
        When other seeds would give the same picture, or there are too many.
    """
    if seeds > 1 and not method.draws(task):
        raise BadInput(
            f"With these settings {method.name} draws nothing at random, so every seed gives the same picture: "
            "let it learn the picture (lora), set eta above 0 and draw a mask, or try other strengths."
        )
    wanted = list(product(dict.fromkeys(strengths or [method.strength]), range(max(1, seeds))))
    if len(wanted) > MOST:
        raise BadInput(f"These are {len(wanted)} candidates: ask for at most {MOST}.")
    made = [method.with_settings(strength=strength, seed=method.seed + k) for strength, k in wanted]
    for one in made:
        one.steps_to_take()  # refuses what can't be done before anything is
    return made


def contact_sheet(source: Image.Image, candidates: Sequence[tuple[Any, Image.Image]], across: int = 4) -> Image.Image:
    """The source and the candidates, each a label and a picture, on a white sheet."""
    tiles = [("source", source), *candidates]
    rows = -(-len(tiles) // across)
    whole = Image.new("RGB", (min(len(tiles), across) * TILE, rows * (TILE + LABEL)), "white")
    canvas, font = ImageDraw.Draw(whole), ImageFont.load_default(size=13)
    for k, (label, picture) in enumerate(tiles):
        x, y = k % across * TILE, k // across * (TILE + LABEL)
        whole.paste(ImageOps.pad(picture, (TILE - 4, TILE - 4), Image.Resampling.LANCZOS, "white"), (x + 2, y + LABEL))
        canvas.text((x + 6, y + 2), str(label), fill="black", font=font)
    return whole
