"""All measures of an edit by name, for the command line and the benchmark: what each gives, and which way is better."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from gooddrag.errors import BadInput
from gooddrag.metrics.dai import RADII, dai
from gooddrag.metrics.drag_back import drag_back
from gooddrag.metrics.mean_distance import dift, mean_distance
from gooddrag.metrics.quality import QUALITY, iqa_metric, quality, quality_doubts
from gooddrag.metrics.similarity import clip_similarity, image_fidelity, outside_change
from gooddrag.pocket.tasks import KnownTask
from gooddrag.task import DragTask

if TYPE_CHECKING:
    from gooddrag.backbone import Backbone
    from gooddrag.methods import Method


@dataclass(frozen=True)
class Edited:
    """An edit to measure, and what some measures need besides: truth, engine, method."""

    task: DragTask
    picture: Image.Image
    known: KnownTask | None = None
    backbone: Backbone | None = None
    method: Method | None = None


Taken = tuple[dict[str, float], tuple[str, ...]]  # column → number; what stands against trusting them


@dataclass(frozen=True)
class Measure:
    """`columns`: name → what tables call it; `needs`: a part of `Edited`; `ready` fails where weights are missing."""

    columns: dict[str, str]
    take: Callable[[Edited], Taken]
    higher: bool = False  # is better
    needs: str = ""
    ready: Callable[[], object] = lambda: None

    def can_take(self, edited: Edited) -> bool:
        """Whether what it needs is there."""
        return not self.needs or getattr(edited, self.needs) is not None


def _dai(e: Edited) -> Taken:
    found = [dai(e.task, e.picture, radius) for radius in RADII]
    numbers = {f"dai_{r}": d.paper for r, d in zip(RADII, found, strict=True)} | {"dai_official": found[0].official}
    return numbers, tuple(dict.fromkeys(doubt for d in found for doubt in d.doubts))


def _mean_distance(e: Edited) -> Taken:
    assert e.backbone is not None
    found = mean_distance(e.task, e.picture, dift(e.backbone))
    return {"md": found.mean}, found.doubts


def _truth(e: Edited) -> Taken:
    from gooddrag.metrics.ground_truth import score

    assert e.known is not None
    numbers = score(replace(e.known, task=e.task), e.picture).to_dict()
    return numbers | {"gained_db": numbers["edit_psnr"] - numbers["source_psnr"]}, ()


def _drag_back(e: Edited) -> Taken:
    from gooddrag.editor import edit

    backbone, method = e.backbone, e.method
    assert backbone is not None
    assert method is not None
    found = drag_back(e.task, e.picture, lambda task: edit(backbone, task, method, use_cache=False).image)
    return {"drag_back": found.inside, "drag_back_outside": found.outside}, found.doubts


def _quality(name: str) -> Measure:
    return Measure(
        {name: name.upper() if name != "tres" else "TReS"},
        lambda e: ({name: quality(e.picture, name)}, quality_doubts(e.picture)),
        higher=True,
        ready=lambda: iqa_metric(QUALITY[name]),
    )


GREY = Image.new("RGB", (224, 224), "grey")
MEASURES: dict[str, Measure] = {
    "dai": Measure({f"dai_{r}": f"DAI, {r} px" for r in RADII} | {"dai_official": "official, 1 px"}, _dai),
    "md": Measure({"md": "mean distance (px)"}, _mean_distance, needs="backbone"),
    "truth": Measure(
        {
            "error_share": "distance left / asked",
            "brokenness": "brokenness (grey levels)",
            "edit_feature_distance": "feature distance to the truth",
        },
        _truth,
        needs="known",
    ),
    "outside": Measure(
        {"outside": "change outside the mask (grey levels)"},
        lambda e: ({"outside": outside_change(e.task, e.picture)}, ()),
    ),
    "back": Measure(
        {"drag_back": "drag-back error (grey levels)", "drag_back_outside": "… outside the mask"},
        _drag_back,
        needs="method",
    ),
    "if": Measure(
        {"if": "image fidelity, 1 − LPIPS"},
        lambda e: ({"if": image_fidelity(e.task.image, e.picture)}, ()),
        higher=True,
        ready=lambda: iqa_metric("lpips"),
    ),
    "clip": Measure(
        {"clip": "CLIP similarity"},
        lambda e: ({"clip": clip_similarity(e.task.image, e.picture)}, ()),
        higher=True,
        ready=lambda: clip_similarity(GREY, GREY),
    ),
    **{name: _quality(name) for name in QUALITY},
}
OFFLINE = ("dai", "md", "truth", "outside")  # need no weights besides the engine's, and no second edit


def check_measures(names: Sequence[str]) -> None:
    """Fail now rather than after an hour.

    Raises
    ------
    BadInput
        When there is no such measure, or its package or weights are missing.
    """
    for name in names:
        if name not in MEASURES:
            raise BadInput(f"There is no measure '{name}': choose from {', '.join(MEASURES)}.")
        MEASURES[name].ready()


def measure(edited: Edited, names: Sequence[str]) -> tuple[dict[str, float], dict[str, list[str]]]:
    """Take measures; those that need what is not there (a known truth, say) are passed over.

    Returns the numbers by column, and for each measure what stands against trusting it. A measure that fails gives no
    numbers, and its reason stands among the doubts.
    """
    numbers: dict[str, float] = {}
    doubts: dict[str, list[str]] = {}
    for name in names:
        if not MEASURES[name].can_take(edited):
            continue
        try:
            found, against = MEASURES[name].take(edited)
        except (ValueError, RuntimeError) as error:
            found, against = dict.fromkeys(MEASURES[name].columns, float("nan")), (f"not measured: {error}",)
        numbers |= {column: float(np.round(value, 6)) for column, value in found.items()}
        if against:
            doubts[name] = list(against)
    return numbers, doubts
