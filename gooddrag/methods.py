"""Methods as data: a schedule, a supervision and numbers. Every ablation in the paper is one changed field.

Radii, β and `reach` are in feature cells (2 image px with Stable Diffusion, 1 with pocket). Those rivals that need a
loop of their own name it here; the loops are in `rivals/`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self

from pydantic import BaseModel, Field, ValidationError

from gooddrag.diffusion import Timeline
from gooddrag.errors import BadInput
from gooddrag.schedule import Schedule, aldd, drag_then_denoise
from gooddrag.supervision import (
    Norm,
    Supervision,
    ipms_loss,
    patch_area_times_mean,
    patch_official,
    patch_sum,
    standard_loss,
)
from gooddrag.task import DragTask

SUPERVISIONS: dict[str, Supervision] = {"ipms": ipms_loss, "standard": standard_loss}
MOST_DRAGS = 10_000
LONG_WAY = 1.25  # times the straight way: from there on a path is told to need more drags
LATENT_CELL = 4  # feature cells, see `features.CELLS_PER_LATENT`


class LoraSettings(BaseModel, frozen=True, extra="forbid"):
    """How the identity adapter is trained (official code: 70 steps, rank 16, batch 4, AdamW 5e-4)."""

    steps: int = Field(default=70, ge=1, le=10_000, description="training steps")
    rank: int = Field(default=16, ge=1, le=256, description="rank of the adapter's matrices")
    batch: int = Field(default=4, ge=1, le=64, description="noise levels in a training step")
    lr: float = Field(default=5e-4, gt=0, lt=1, description="learning rate of AdamW on the adapter")


@dataclass(frozen=True)
class Abilities:
    """What a method can do with a task and what it asks of the engine: data for interfaces, and for refusals."""

    several: bool = True  # more than one drag at a time
    paths: bool = False  # handles that go along a path instead of straight to their targets
    mask: bool = True  # keeps to a mask
    handles_outside_mask: bool = True  # such a handle may be dragged too
    adapter: bool = True  # is meant to learn the picture first (LoRA); every method can
    gradients: bool = True  # needs them, and the memory that they take
    tracks: bool = True  # finds handles again by their features; otherwise they are where the method has put them
    inverts: bool = True  # begins with DDIM inversion
    grain: int = 1  # feature cells that a handle moves by at least
    together: bool = True  # leaves the U-Net as it is, and so can share it with other edits of the same moment


@dataclass(frozen=True)
class Quirks:
    """Where the published code differs from the paper's method in a way that changes results.

    Numbers as in `docs/compat.md`. What only costs time or memory there (unfrozen weights, full-size feature maps) is
    not reproduced.
    """

    norm: Norm  # Q1: (2·r1)² times the mean, instead of the sum over the patch
    stale_tracking: bool  # Q3: track with the features from before the last gradient step
    retrack: bool  # Q4: track once more, uncounted, at the first drag of each timestep
    empty_mask_locks: bool  # Q6: no mask means that nothing may change, instead of everything
    border_fails: bool  # Q8: a patch that leaves the map is an error, instead of being cut at the border
    patience: int | None  # Q17: give up after so many drags in a row that moved no handle


PAPER = Quirks(patch_sum, False, False, False, False, None)
OFFICIAL = Quirks(patch_official, True, True, True, True, 5)
OFFICIAL_DRAGDIFFUSION = Quirks(patch_area_times_mean, False, False, False, False, None)


class Method(BaseModel, frozen=True, extra="forbid", validate_default=True):
    """Everything that decides an edit besides backbone and task. Frozen and validated; unknown fields are refused.

    `loop` names the class that does the work: a subclass of `gooddrag.loop.Edit`.
    """

    loop: ClassVar[str]
    abilities: ClassVar[Abilities] = Abilities()

    steps: int = Field(default=50, ge=2, le=1000, description="DDIM steps of the full way from noise to picture (N)")
    strength: float = Field(default=0.75, gt=0, le=1, description="share of that way the picture is taken back")
    keep_outside: bool = Field(default=False, description="paste the original back outside the mask at the end")
    feather: float = Field(default=1.0, ge=0, le=256, description="softness of that seam, in image px")
    lora: LoraSettings | None = Field(default=LoraSettings(), description="learn the picture first (identity LoRA)")
    seed: int = Field(default=0, ge=0, lt=2**31, description="of all that is drawn at random")

    def __init__(self, /, **settings: Any) -> None:
        try:
            super().__init__(**settings)
        except ValidationError as error:
            raise BadInput(_one_sentence(error, type(self))) from None

    @property
    def name(self) -> str:
        return type(self).__name__

    @property
    def timeline(self) -> Timeline:
        return Timeline(self.steps, self.strength)

    @property
    def official(self) -> bool:
        """Whether pictures and points are put on the grids as the published code does."""
        return False

    def draws(self, task: DragTask) -> bool:
        """Whether anything is drawn at random, so that another seed gives another picture."""
        return self.lora is not None

    @property
    def passes_per_drag(self) -> int:
        """What a drag costs, counted in passes through the U-Net; for progress bars."""
        return 1

    def steps_to_take(self) -> Schedule:
        """The schedule, as data; empty where it depends on the task."""
        raise NotImplementedError

    def notes(self, task: DragTask) -> list[str]:
        """What a user should know before dragging this task with these settings; one sentence each."""
        return []

    def with_settings(self, /, **changes: Any) -> Self:
        """The same method with some fields changed, validated again. Nested fields: `lora={"steps": 20}`."""
        settings = self.model_dump()
        for name, value in changes.items():
            nested = isinstance(value, dict) and isinstance(settings.get(name), dict)
            settings[name] = settings[name] | value if nested else value
        return type(self)(**settings)

    @classmethod
    def for_pocket(cls, **changes: Any) -> Self:
        """The settings that suit the pocket engine, some of them changed."""
        return cls(**changes)


class GradientMethod(Method, frozen=True):
    """What those methods have that pull features by gradient steps on the latent and find the handles again."""

    loop: ClassVar[str] = "gooddrag.loop:GradientEdit"
    abilities: ClassVar[Abilities] = Abilities(paths=True)

    schedule: Literal["aldd", "drag_then_denoise"] = Field(
        default="aldd", description="drags and denoise steps in turn, or all drags first"
    )
    drags: int = Field(default=70, ge=0, le=MOST_DRAGS, description="drags in all (K)")
    per_denoise: int = Field(default=10, ge=1, le=MOST_DRAGS, description="drags before each denoise step (B)")
    supervision: Literal["ipms", "standard"] = Field(
        default="ipms", description="patches are compared with the original one (IPMS), or the current one"
    )
    supervision_steps: int = Field(default=3, ge=1, le=1000, description="gradient steps in a drag (J)")
    latent_lr: float = Field(default=0.02, gt=0, le=1, description="learning rate of Adam on the latent")
    r1: int = Field(default=4, ge=0, le=64, description="radius of the supervised patch")
    r2: int = Field(default=12, ge=1, le=128, description="radius of the tracking window")
    beta: float = Field(default=4.0, gt=0, le=64, description="how far ahead the patch is pulled (β)")
    mask_weight: float = Field(default=0.1, ge=0, le=1e6, description="weight of the mask term (λ)")
    mask_term: Literal["stepped", "latent"] = Field(
        default="stepped", description="what it compares: latents one DDIM step on (paper), or as they are (faster)"
    )
    source_path: Literal["denoised", "inverted"] = Field(
        default="denoised",
        description="the source's latents: denoised again (paper), or those that inversion passed (faster)",
    )
    eta: float = Field(
        default=0.0, ge=0, le=1, description="share of fresh noise inside the mask at a denoise step (η)"
    )
    hold_outside: bool = Field(
        default=False, description="put the source's latent back outside the mask after each denoise step"
    )
    reach: float = Field(default=2.0, gt=0, le=64, description="a handle this near to its target has arrived")
    patience: int | None = Field(
        default=None, ge=1, description="stop after so many drags in a row that moved no handle"
    )
    guidance: float = Field(
        default=1.0, ge=0, le=100, description="how far denoising follows the prompt inside the mask (1: as it says)"
    )
    mutual_attention: Literal["after_drags", "always", "off"] = Field(
        default="after_drags", description="when denoising takes keys and values from the source"
    )
    compat: Literal["paper", "official"] = Field(
        default="paper", description="the paper's method, or the published code with its quirks"
    )

    @property
    def official(self) -> bool:
        return self.compat == "official"

    def draws(self, task: DragTask) -> bool:
        return super().draws(task) or (self.eta > 0 and task.mask is not None)

    @property
    def passes_per_drag(self) -> int:
        return 1 + 3 * self.supervision_steps

    def steps_to_take(self) -> Schedule:
        if self.schedule == "aldd":
            return aldd(self.drags, self.per_denoise, len(self.timeline))
        return drag_then_denoise(self.drags, len(self.timeline))

    def notes(self, task: DragTask) -> list[str]:
        if task.detour < LONG_WAY or not self.drags:
            return []
        more = self.for_way(task)
        return [
            f"The longest path is {task.detour:.1f} times as long as the direct way: where handles don't get to its "
            f"end, raise drags to about {more.drags} and per_denoise to about {more.per_denoise}."
        ]

    def for_way(self, task: DragTask) -> Self:
        """The same method with as many more drags, in all and before a denoise step, as the task's paths are longer."""
        drags, per_denoise = (math.ceil(count * task.detour) for count in (self.drags, self.per_denoise))
        return self.with_settings(drags=min(drags, MOST_DRAGS), per_denoise=min(per_denoise, MOST_DRAGS))

    @property
    def loss(self) -> Supervision:
        return SUPERVISIONS[self.supervision]

    @property
    def quirks(self) -> Quirks:
        return PAPER


class GoodDrag(GradientMethod, frozen=True):
    """GoodDrag with the paper's settings: AlDD and IPMS. `for_pocket` has those that suit the pocket engine."""

    @property
    def quirks(self) -> Quirks:
        return OFFICIAL if self.official else PAPER

    @classmethod
    def for_pocket(cls, **changes: Any) -> Self:
        return cls(**(POCKET | changes))

    @classmethod
    def fast(cls, backbone: str = "pocket", **changes: Any) -> Self:
        """Our own short cut: 40 gradient steps in place of 210, 33 timesteps in place of 50, and no adapter.

        Inversion and the source's path share their passes, too. What each of its changes saves and costs was measured
        with pocket (`docs/performance.md`); with Stable Diffusion nobody has measured it.
        """
        suited = POCKET if backbone == "pocket" else {}
        return cls(**(suited | FAST | changes))


class DragDiffusion(GradientMethod, frozen=True):
    """DragDiffusion (CVPR 2024): all drags at one timestep (681), standard supervision, one gradient step a drag.

    Paper and published code agree in all but the picture's border and its size: see `docs/compat.md`. The published
    benchmark gives the engine each sample's prompt.
    """

    strength: float = Field(default=0.7, gt=0, le=1)
    schedule: Literal["aldd", "drag_then_denoise"] = "drag_then_denoise"
    drags: int = Field(default=80, ge=0, le=MOST_DRAGS)
    supervision: Literal["ipms", "standard"] = "standard"
    supervision_steps: int = Field(default=1, ge=1, le=1000)
    latent_lr: float = Field(default=0.01, gt=0, le=1)
    r1: int = Field(default=1, ge=0, le=64)
    r2: int = Field(default=3, ge=1, le=128)
    beta: float = Field(default=1.0, gt=0, le=64)
    mutual_attention: Literal["after_drags", "always", "off"] = "always"
    lora: LoraSettings | None = LoraSettings(steps=80)

    @property
    def quirks(self) -> Quirks:
        return OFFICIAL_DRAGDIFFUSION if self.official else PAPER

    @classmethod
    def for_pocket(cls, **changes: Any) -> Self:
        return cls(**(_of_pocket("eta", "hold_outside", "lora") | changes))


class DragNoise(DragDiffusion, frozen=True):
    """DragNoise (CVPR 2024, arXiv 2404.01050): drags the U-Net's bottleneck instead of the latent, then keeps it."""

    loop: ClassVar[str] = "gooddrag.rivals.drag_noise:NoiseEdit"
    abilities: ClassVar[Abilities] = Abilities(paths=True, together=False)

    drags: int = Field(default=60, ge=0, le=MOST_DRAGS)
    lora: LoraSettings | None = LoraSettings(steps=60)
    mask_term: Literal["stepped"] = "stepped"  # the latent itself doesn't move before it is denoised
    compat: Literal["paper"] = "paper"
    block: Literal["mid", "up0", "up1"] = Field(default="mid", description="block whose output is dragged and kept")
    free_steps: int = Field(default=10, ge=0, le=1000, description="last denoise steps with the U-Net's own bottleneck")

    def steps_to_take(self) -> Schedule:
        if self.free_steps >= len(self.timeline):
            raise BadInput(
                f"With free_steps {self.free_steps} none of the {len(self.timeline)} timesteps keeps what was dragged: "
                "lower free_steps, or raise steps or strength."
            )
        return super().steps_to_take()

    @classmethod
    def for_pocket(cls, **changes: Any) -> Self:
        # Its middle block has next to no say; the block that has some leads far, and draws some heads without a face.
        own: dict[str, Any] = {
            "block": "up1",
            "latent_lr": 0.5,
            "r1": 4,
            "r2": 4,
            "beta": 4.0,
            "reach": 1.0,
            "free_steps": 20,
        }
        return cls(**(_of_pocket("strength", "eta", "hold_outside", "lora") | own | changes))


class FreeDrag(GradientMethod, frozen=True):
    """FreeDrag (CVPR 2024, arXiv 2307.04684): templates that adapt, and a search along the line to the target.

    β is the longest step on that line (d_max); there is no tracking window.
    """

    loop: ClassVar[str] = "gooddrag.rivals.free_drag:FreeEdit"
    abilities: ClassVar[Abilities] = Abilities(tracks=False)

    strength: float = Field(default=0.7, gt=0, le=1)
    schedule: Literal["drag_then_denoise"] = "drag_then_denoise"
    drags: int = Field(default=60, ge=0, le=MOST_DRAGS)
    supervision: Literal["ipms"] = "ipms"  # to begin with: the template is the original patch until it adapts
    supervision_steps: int = Field(default=5, ge=1, le=1000, description="gradient steps in a drag, at most")
    latent_lr: float = Field(default=0.01, gt=0, le=1)
    r2: Literal[0] = 0
    beta: float = Field(default=5.0, gt=0, le=64, description="the longest step towards the target (d_max)")
    mask_weight: float = Field(default=10.0, ge=0, le=1e6, description="weight of the mask term, a mean here (λ)")
    mutual_attention: Literal["after_drags", "always", "off"] = "always"
    lora: LoraSettings | None = LoraSettings(steps=200, lr=2e-4)
    compat: Literal["paper"] = "paper"
    expected_loss: float = Field(default=1.0, gt=0, le=1e3, description="feature difference a drag begins with (l)")

    @classmethod
    def for_pocket(cls, **changes: Any) -> Self:
        own: dict[str, Any] = {"expected_loss": 0.5}
        return cls(**(_of_pocket("strength", "eta", "hold_outside", "reach", "lora") | own | changes))


class FastDrag(Method, frozen=True):
    """FastDrag (NeurIPS 2024, arXiv 2405.15769): one warp of the latent, then denoising. No gradients, no adapter."""

    loop: ClassVar[str] = "gooddrag.rivals.fast_drag:WarpEdit"
    abilities: ClassVar[Abilities] = Abilities(
        handles_outside_mask=False, adapter=False, gradients=False, tracks=False, grain=LATENT_CELL
    )

    strength: float = Field(default=0.7, gt=0, le=1)
    lora: LoraSettings | None = None

    def steps_to_take(self) -> Schedule:
        return drag_then_denoise(1, len(self.timeline))


class SdeDrag(Method, frozen=True):
    """SDE-Drag (ICLR 2024, arXiv 2311.01410): paste the handle's noisy patch a little further, denoise, again."""

    loop: ClassVar[str] = "gooddrag.rivals.sde_drag:SdeEdit"
    abilities: ClassVar[Abilities] = Abilities(
        gradients=False, tracks=False, inverts=False, grain=LATENT_CELL, together=False
    )

    steps: int = Field(default=200, ge=2, le=999, description="steps of the full way from noise to picture (n)")
    strength: float = Field(default=0.6, gt=0, lt=1, description="share of that way that noise is added (t₀)")
    stride: float = Field(default=2.0, gt=0, le=64, description="how far a round moves the handles, in latent cells")
    radius: int = Field(default=5, ge=1, le=64, description="half the side of the pasted patch, in latent cells")
    residue: float = Field(default=0.3, ge=0, le=1, description="what is left of the patch where it was (β)")
    gain: float = Field(default=1.1, gt=0, le=4, description="what the patch is multiplied by where it goes (α)")
    lora: LoraSettings | None = LoraSettings(steps=100, rank=4, batch=1, lr=2e-4)
    lora_end: float = Field(
        default=0.5, ge=0, le=1, description="weight of the adapter at the noisy end; 1 at the other"
    )

    def draws(self, task: DragTask) -> bool:
        return True

    def steps_to_take(self) -> Schedule:
        return ()  # how many rounds there are depends on how far the task asks to go

    @classmethod
    def for_pocket(cls, **changes: Any) -> Self:
        # Pocket's latent is 16 cells wide, a quarter of Stable Diffusion's; larger patches lose the creature's colour.
        own: dict[str, Any] = {"steps": 50, "radius": 1, "stride": 1.0, "lora": POCKET["lora"]}
        return cls(**(own | changes))


# Chosen on pocket's own tuning tasks (its model card says how). Patch and step are the paper's; a search window of 12
# cells would reach from one eye to the other, 2 cells are a third of what a typical drag asks for on a 64 px picture,
# and a stronger adapter let heads turn less. Fresh noise (η) lets this small model mend what drags have torn: noise
# that was bent by gradients stays bent in a deterministic step. And it would rather shift a whole creature than open
# its mouth: so what lies outside the mask is put back, which holds it better than ten times the mask weight (λ).
POCKET: dict[str, Any] = {
    "strength": 0.8,
    "per_denoise": 5,
    "eta": 1.0,
    "hold_outside": True,
    "r2": 4,
    "reach": 1.0,
    "lora": LoraSettings(steps=20, rank=4),
}


# What most of those passes were for: with tuning tasks, a fifth of the gradient steps at four times the rate led
# nearly as far, two thirds of the timesteps were nearly as sound, and the adapter had no say. The mask term compares
# latents as they are, so that the passes of drags can end behind the feature block; and inversion's passes serve the
# source's path, too.
FAST: dict[str, Any] = {
    "steps": 33,
    "drags": 40,
    "per_denoise": 5,
    "supervision_steps": 1,
    "latent_lr": 0.08,
    "mask_term": "latent",
    "source_path": "inverted",
    "lora": None,
}


def _of_pocket(*names: str) -> dict[str, Any]:
    """Those of pocket's settings that are the engine's and not GoodDrag's own."""
    return {name: POCKET[name] for name in names}


METHODS: dict[str, type[Method]] = {
    kind.__name__.lower(): kind for kind in (GoodDrag, DragDiffusion, DragNoise, FreeDrag, FastDrag, SdeDrag)
}


PRESETS: dict[str, Callable[[str], Method]] = {"gooddrag-fast": GoodDrag.fast}  # settings with a name, by backbone


def method_for(name: str, backbone: str = "pocket", /, **changes: Any) -> Method:
    """A method by name ("gooddrag", "gooddrag-fast", "dragdiffusion", …), suited to a backbone, some fields changed."""
    if name in PRESETS:
        base = PRESETS[name](backbone)
    elif name in METHODS:
        base = METHODS[name].for_pocket() if backbone == "pocket" else METHODS[name]()
    else:
        raise BadInput(f"There is no method '{name}': choose one of {', '.join([*METHODS, *PRESETS])}.")
    return base.with_settings(**changes) if changes else base


def _one_sentence(error: ValidationError, kind: type[BaseModel]) -> str:
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        known = ", ".join(kind.model_fields)
        return f"{kind.__name__} has no setting '{where}': the settings are {known}."
    got = str(first["input"])[:60]
    return f"The setting '{where}' can't be {got!r}: {first['msg'][0].lower() + first['msg'][1:]}."
