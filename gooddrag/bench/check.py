"""What a data set holds, and what is odd about it: counts, sizes, and cases that measures or methods stumble over."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from gooddrag.bench.datasets import Dataset, Sample
from gooddrag.errors import BadInput
from gooddrag.images import read_image
from gooddrag.task import DragTask

MULTIPLE = 8  # px of a Stable Diffusion latent cell
# Nearer to the border than its tracking radius, GoodDrag's published code fails: 24 px of a picture of 512.
BORDER = 24 / 512
ORIENTATION = 0x0112  # the Exif tag
PICTURES = ("original_image.png", "origin_image.png", "original.png", "original.jpg", "original.jpeg", "original.webp")


@dataclass
class Findings:
    """What was found. `odd` maps what is odd to the names of the samples where it is so."""

    pictures: int = 0
    pairs: int = 0
    categories: Counter[str] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    sizes: Counter[tuple[int, int]] = field(default_factory=Counter)
    lengths: list[float] = field(default_factory=list)  # of the pairs, px
    coverage: list[float] = field(default_factory=list)  # share of the picture that may change, of those with a mask
    odd: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    refused: dict[str, str] = field(default_factory=dict)  # sample → sentence


def examine(dataset: Dataset) -> Findings:
    """Read every sample once."""
    found = Findings()
    for sample in dataset.samples:
        try:
            task, known = sample.read()
        except BadInput as error:
            found.refused[sample.name] = str(error)
            continue
        found.pictures += 1
        found.pairs += len(task.handles)
        found.categories[sample.category] += 1
        found.sizes[task.size] += 1
        found.lengths += task.distances.tolist()
        found.kinds.update([known.kind] if known else [])
        found.coverage += [] if task.mask is None else [float(task.mask.mean())]
        for what in _odd(task, sample):
            found.odd[what].append(sample.name)
    return found


def _odd(task: DragTask, sample: Sample) -> list[str]:
    points, size = np.concatenate([task.handles, task.targets]), np.array(task.size)
    pixels = np.rint(task.handles).astype(int)
    cases = {
        "pairs of zero length": (task.distances == 0).any(),
        f"sizes that are no multiple of {MULTIPLE} px": (size % MULTIPLE).any(),
        "points near the border": (np.minimum(points, size - 1 - points) < BORDER * size.max()).any(),
        "no mask": task.mask is None,
        "handles outside the mask": task.mask is not None and not task.mask[pixels[:, 1], pixels[:, 0]].all(),
        "handles on the same pixel": len(np.unique(pixels, axis=0)) < len(pixels),
        "pictures turned by Exif (points count in the upright one)": _is_turned(sample.folder),
    }
    return [what for what, is_so in cases.items() if is_so]


def _is_turned(folder: Path | None) -> bool:
    pictures = [] if folder is None else [folder / name for name in PICTURES if (folder / name).is_file()]
    if not pictures:
        return False
    read_image(pictures[0])  # refuses what is no sound picture
    with Image.open(pictures[0]) as picture:
        return picture.getexif().get(ORIENTATION, 1) != 1
