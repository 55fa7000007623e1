"""Makes the failure clinic's cases, from seeds alone (about seven minutes of one idle core). From `notebooks/`:

python -m lessons.make_clinic                # all
python -m lessons.make_clinic lr-too-high    # some

It says of each whether the failure shows and whether the cure helps, and ends with an error where one doesn't.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from gooddrag.backbone import Backbone, load_backbone
from gooddrag.editor import edit
from gooddrag.files import written_together
from gooddrag.methods import method_for
from gooddrag.pocket.tasks import make_task
from gooddrag.pocket.world import render
from gooddrag.task import DragTask
from lessons.cases import CLINIC, TEXTS, Case, read_case
from lessons.clinic import diagnose

# The paper's schedule and deterministic steps, but cheaper: good enough for a hop.
USUAL: dict[str, Any] = {"steps": 25, "strength": 0.88, "drags": 30, "per_denoise": 10, "latent_lr": 0.01}
USUAL |= {"eta": 0.0, "hold_outside": False}


@dataclass(frozen=True)
class Tasks:
    """The task that fails, the one that is cured, and the picture that the cured one should give."""

    failed: DragTask
    cured: DragTask
    truth: Image.Image


@dataclass(frozen=True)
class Recipe:
    """How a case is made: its texts (see `Case`), and settings as changes of `USUAL`."""

    title: str
    symptom: str
    look: str
    cause: str
    cure: str
    plot: str
    says: str
    sign: str
    better: float
    tasks: Callable[[], Tasks]
    failed: dict[str, Any] = field(default_factory=dict)
    cured: dict[str, Any] = field(default_factory=dict)


def _task(kind: str, seed: int) -> Tasks:
    known = make_task(kind, seed)
    return Tasks(known.task, known.task, known.truth)


def _nose_backwards() -> Tasks:
    tasks = _task("move", 47)
    handles, targets = tasks.cured.handles, tasks.cured.targets.copy()
    targets[0] = 2 * handles[0] - targets[0]
    return replace(tasks, failed=tasks.cured.with_points(handles, targets))


def _mask_of_the_creature(seed: int) -> Tasks:
    known = make_task("move", seed)
    creature = render(known.before, known.task.image.width).part >= 0
    return Tasks(known.task.with_mask(creature), known.task, known.truth)


def _sky() -> Tasks:
    tasks = _task("move", 28)
    way = tasks.cured.targets[0] - tasks.cured.handles[0]
    return replace(tasks, failed=tasks.cured.with_points([[52, 10]], np.array([[52, 10]]) + way))


def _odd_colours() -> Tasks:
    known = make_task("move", 2)

    def odd(picture: Image.Image) -> Image.Image:
        return Image.fromarray(np.asarray(picture)[..., [2, 0, 1]])

    task = replace(known.task, image=odd(known.task.image))
    return Tasks(task, task, odd(known.truth))


def _no_mask(kind: str, seed: int) -> Tasks:
    tasks = _task(kind, seed)
    return replace(tasks, failed=tasks.cured.with_mask(None))


def _nose_alone() -> Tasks:
    known = make_task("turn-head", 1)
    alone = known.task.with_points(known.task.handles[:1], known.task.targets[:1]).with_mask(None)
    return Tasks(alone, known.task, known.truth)


RECIPES = {
    "arrow-backwards": Recipe(
        title="One arrow backwards",
        symptom="The body steps aside, as it should, but the head hangs back and turns, and one handle says that it is "
        "farther from its target than at the start.",
        look="The distance of each handle by itself: five fall, one rises. Their mean would hide it.",
        cause="The nose's arrow was drawn from target to handle. It pulls against five others and loses: a nose can't "
        "leave its face. Had the two sides been equal, the creature would have been torn.",
        cure="Turn the arrow round. Arrows of one edit must tell of one movement; for two movements, make two edits.",
        plot="distance",
        says="pulled apart",
        sign="worst",
        better=2,
        tasks=_nose_backwards,
    ),
    "lr-too-high": Recipe(
        title="Learning rate too high",
        symptom="Everything arrives, even early – and the picture is shattered.",
        look="The perturbation: after a few drags it is larger than it will ever be in the healthy edit.",
        cause="Each gradient step moves each number of the latent by up to the learning rate. Denoising can mend small "
        "dents, but not this.",
        cure="Lower `latent_lr`. The handles take more drags, and the model keeps up with them.",
        plot="perturbation",
        says="shattered",
        sign="perturbation",
        better=3,
        tasks=lambda: _task("move", 35),
        failed={"latent_lr": 0.5},
    ),
    "lr-too-low": Recipe(
        title="Learning rate too low",
        symptom="Nothing happens. No error, no warning, the same picture.",
        look="Distance and perturbation together: the one stays where it was, the other next to zero.",
        cause="All gradient steps together are too short to move a feature by even one cell.",
        cure="Raise `latent_lr` until the distance falls. More drags, or more steps in each (J), also help.",
        plot="both",
        says="nothing moves",
        sign="left",
        better=2,
        tasks=lambda: _task("move", 35),
        failed={"latent_lr": 0.0005},
    ),
    "mask-cuts-off": Recipe(
        title="Mask cut to the old outline",
        symptom="A ghost of the old outline stays, and what has moved is cut off where it leaves it.",
        look="The task itself: draw the mask over the *result*. The curves show nothing, they end before the cut.",
        cause="`keep_outside` pastes the original back wherever the mask is black, on top of what has moved there.",
        cure="Paint where the thing goes, too: old place, new place, and a margin.",
        plot="mask",
        says="arrived",
        sign="seam",
        better=3,
        tasks=lambda: _mask_of_the_creature(43),
        failed={"keep_outside": True},
        cured={"keep_outside": True},
    ),
    "mask-too-tight": Recipe(
        title="Mask too tight",
        symptom="It crawls: as many drags as in a healthy edit, and not half of the way.",
        look="Distance and perturbation together: the latent changes as in the healthy edit, the handles don't get on.",
        cause="The mask covers where the creature is, not where it should go; a strong mask term (λ) holds the rest.",
        cure="Paint old place, new place, and a margin. Or lower λ, and look at what else moves then.",
        plot="both",
        says="held back",
        sign="left",
        better=2,
        tasks=lambda: _mask_of_the_creature(43),
        failed={"mask_weight": 20},
        cured={"mask_weight": 20},
    ),
    "no-mask": Recipe(
        title="No mask",
        symptom="The head should tilt, and nothing else should move. But the whole creature has come along.",
        look="The difference from the original: it is all over the creature, feet and all.",
        cause="Nothing says what shall stay. A creature that shifts as a whole is the easier answer.",
        cure="Paint what may change, and give the mask term some weight (λ).",
        plot="change",
        says="arrived",
        sign="outside",
        better=2,
        tasks=lambda: _no_mask("tilt-head", 1),
        cured={"mask_weight": 5},
    ),
    "nose-alone": Recipe(
        title="One arrow, several answers",
        symptom="The head should turn. The whole creature steps aside instead.",
        look="The difference from the original: the body has moved, and nobody asked for that.",
        cause="One handle says where the nose goes. It doesn't say what the rest does.",
        cure="Say more: handles on both eyes, and a mask that leaves out the body.",
        plot="change",
        says="arrived",
        sign="outside",
        better=1.5,
        tasks=_nose_alone,
        cured={"mask_weight": 5},
    ),
    "nothing-to-hold": Recipe(
        title="A handle on nothing",
        symptom="The handle arrives. But the creature hasn't stepped aside: its head has tilted, its ears are bent.",
        look="What changed: ears most, then face and outline of the head. Then the similarity map of the handle, "
        "below.",
        cause="One patch of empty sky looks like the next, so the handle is found again though nothing has moved. "
        "What the drag does do is to put sky where an ear was.",
        cure="Put handles where there is something to recognise: eyes, noses, corners, edges.",
        plot="change",
        says="arrived",
        sign="error",
        better=1.2,
        tasks=_sky,
    ),
    "stops-early": Recipe(
        title="Content too soon",
        symptom="It stops after a few drags, says that all handles have arrived, and they haven't.",
        look="The number of drags, and the distance at the last one: just below `reach`.",
        cause="A handle counts as arrived when it is nearer than `reach`. Here that is nearly the whole way.",
        cure="Lower `reach` to one or two feature cells.",
        plot="distance",
        says="stopped early",
        sign="left",
        better=2,
        tasks=lambda: _task("move", 35),
        failed={"reach": 5},
    ),
    "too-few-drags": Recipe(
        title="Too far for so few drags",
        symptom="The creature sets out in the right direction and never arrives.",
        look="The distance: it still falls when the drags are used up.",
        cause="A drag moves a handle by a fraction of a pixel, and there are only eight of them.",
        cure="More drags. Or a nearer target, and a second edit from there.",
        plot="distance",
        says="out of drags",
        sign="left",
        better=2,
        tasks=lambda: _task("move", 20),
        failed={"drags": 8},
        cured={"drags": 50},
    ),
    "too-shallow": Recipe(
        title="Not far enough back",
        symptom="The creature stays where it is, and its outlines fray a little.",
        look="Perturbation and distance together: the latent changes a lot, the handles don't get half of the way.",
        cause="At a strength of 0.3 there is little noise: where things are is settled, only textures are open.",
        cure="Go further back into noise: a higher `strength`.",
        plot="both",
        says="held back",
        sign="left",
        better=2,
        tasks=lambda: _task("move", 33),
        failed={"strength": 0.3},
    ),
    "unknown-picture": Recipe(
        title="A picture like no other",
        symptom="Colours fade, edges blur, and the handles get little more than a quarter of the way.",
        look="Distance and perturbation together: much change, little way. Then the model's own guess, below.",
        cause="The model has never seen such colours, and without an adapter it never will.",
        cure="Let it learn this picture first: more steps and a higher rank for the identity LoRA.",
        plot="both",
        says="held back",
        sign="left",
        better=1.5,
        tasks=_odd_colours,
        failed={"lora": None},
        cured={"lora": {"steps": 100, "rank": 8}},
    ),
}


def make(name: str, backbone: Backbone, clinic: Path = CLINIC) -> Case:
    """Make one case and write its folder; the case as it can be read from there."""
    recipe = RECIPES[name]
    tasks = recipe.tasks()
    settings = {"failed": USUAL | recipe.failed, "cured": USUAL | recipe.cured}
    with written_together(clinic / name, last="case.json", optional=("mask.png", "cure/mask.png")) as place:
        tasks.failed.write(place)
        if tasks.cured is not tasks.failed:
            tasks.cured.write(place / "cure")
        tasks.truth.save(place / "truth.png")
        for side, task in (("failed", tasks.failed), ("cured", tasks.cured)):
            result = edit(backbone, task, method_for("gooddrag", "pocket", **settings[side]))
            result.image.save(place / f"{side}.png")
            result.trace.save(place / f"{side}.parquet")
        facts = {n: getattr(recipe, n) for n in (*TEXTS, "better")}
        (place / "case.json").write_text(
            json.dumps(facts | {"settings": settings}, indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
        )
    return read_case(clinic / name)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("names", nargs="*", help=f"of {', '.join(RECIPES)}")
    chosen = arguments.parse_args()
    backbone, unlike = load_backbone("pocket"), []
    for name in chosen.names or RECIPES:
        case = make(name, backbone)
        failed, cured = case.signs
        said = [diagnose(*attempt.curves) for attempt in (case.failed, case.cured)]
        print(f"{name}: {case.sign} {failed:.2f} → {cured:.2f} (wanted: {case.better} times smaller); the trace says")
        print(f"  '{said[0]}' (wanted: '{case.says}'), when cured '{said[1]}'", flush=True)
        unlike += [name] if failed < case.better * cured or said[0] != case.says else []
    if unlike:
        sys.exit(f"Not as they should be: {', '.join(unlike)}.")


if __name__ == "__main__":
    main()
