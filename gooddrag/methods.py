"""Methods as data: a schedule, a supervision and numbers. Every ablation in the paper is one changed field.

Radii, β and `reach` are in feature cells (2 image px with Stable Diffusion, 1 with pocket).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from gooddrag.diffusion import Timeline
from gooddrag.errors import BadInput
from gooddrag.schedule import Schedule, aldd, drag_then_denoise
from gooddrag.supervision import Norm, Supervision, ipms_loss, patch_official, patch_sum, standard_loss

SUPERVISIONS: dict[str, Supervision] = {"ipms": ipms_loss, "standard": standard_loss}


class LoraSettings(BaseModel):
    """How the identity adapter is trained (official code: 70 steps, rank 16, batch 4, AdamW 5e-4)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    steps: int = Field(default=70, ge=1, le=10_000)
    rank: int = Field(default=16, ge=1, le=256)
    batch: int = Field(default=4, ge=1, le=64)
    lr: float = Field(default=5e-4, gt=0, lt=1)


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


class Method(BaseModel):
    """Everything that decides an edit besides backbone and task. Frozen and validated; unknown fields are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    steps: int = Field(default=50, ge=2, le=1000, description="DDIM steps of the full way from noise to picture (N)")
    strength: float = Field(default=0.75, gt=0, le=1, description="share of that way the picture is taken back")
    schedule: Literal["aldd", "drag_then_denoise"] = "aldd"
    drags: int = Field(default=70, ge=0, le=10_000, description="drags in all (K)")
    per_denoise: int = Field(default=10, ge=1, le=10_000, description="drags before each denoise step (B)")
    supervision: Literal["ipms", "standard"] = "ipms"
    supervision_steps: int = Field(default=3, ge=1, le=1000, description="gradient steps in a drag (J)")
    latent_lr: float = Field(default=0.02, gt=0, le=1, description="learning rate of Adam on the latent (η)")
    r1: int = Field(default=4, ge=0, le=64, description="radius of the supervised patch")
    r2: int = Field(default=12, ge=1, le=128, description="radius of the tracking window")
    beta: float = Field(default=4.0, gt=0, le=64, description="how far ahead the patch is pulled (β)")
    mask_weight: float = Field(default=0.1, ge=0, le=1e6, description="weight of the mask term (λ)")
    reach: float = Field(default=2.0, gt=0, le=64, description="a handle this near to its target has arrived")
    patience: int | None = Field(
        default=None, ge=1, description="stop after so many drags in a row that moved no handle"
    )
    mutual_attention: Literal["after_drags", "always", "off"] = "after_drags"
    keep_outside: bool = Field(default=False, description="paste the original back outside the mask at the end")
    feather: float = Field(default=1.0, ge=0, le=256, description="softness of that seam, in image px")
    lora: LoraSettings | None = LoraSettings()
    compat: Literal["paper", "official"] = "paper"
    seed: int = Field(default=0, ge=0, lt=2**31)

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

    def steps_to_take(self) -> Schedule:
        """The schedule, as data."""
        if self.schedule == "aldd":
            return aldd(self.drags, self.per_denoise, len(self.timeline))
        return drag_then_denoise(self.drags, len(self.timeline))

    @property
    def loss(self) -> Supervision:
        return SUPERVISIONS[self.supervision]

    @property
    def quirks(self) -> Quirks:
        return OFFICIAL if self.compat == "official" else PAPER

    def with_settings(self, /, **changes: Any) -> Self:
        """The same method with some fields changed, validated again. Nested fields: `lora={"steps": 20}`."""
        settings = self.model_dump()
        for name, value in changes.items():
            nested = isinstance(value, dict) and isinstance(settings.get(name), dict)
            settings[name] = settings[name] | value if nested else value
        return type(self)(**settings)


class GoodDrag(Method):
    """GoodDrag with the paper's settings: AlDD and IPMS. `for_pocket` has those that suit the pocket engine."""

    @classmethod
    def for_pocket(cls, **changes: Any) -> Self:
        return cls(**(POCKET | changes))


class DragDiffusion(Method):
    """DragDiffusion (CVPR 2024): all drags at one timestep (681), standard supervision, one gradient step a drag."""

    strength: float = Field(default=0.7, gt=0, le=1)
    schedule: Literal["aldd", "drag_then_denoise"] = "drag_then_denoise"
    drags: int = Field(default=80, ge=0, le=10_000)
    supervision: Literal["ipms", "standard"] = "standard"
    supervision_steps: int = Field(default=1, ge=1, le=1000)
    latent_lr: float = Field(default=0.01, gt=0, le=1)
    r1: int = Field(default=1, ge=0, le=64)
    r2: int = Field(default=3, ge=1, le=128)
    beta: float = Field(default=1.0, gt=0, le=64)
    mutual_attention: Literal["after_drags", "always", "off"] = "always"
    lora: LoraSettings | None = LoraSettings(steps=80)

    @classmethod
    def for_pocket(cls, **changes: Any) -> Self:
        return cls(**({"lora": POCKET["lora"]} | changes))


# Chosen on pocket's own tuning tasks (its model card says how). Patch and step are the paper's; a search window of 12
# cells would reach from one eye to the other, 2 cells are a third of what a typical drag asks for on a 64 px picture,
# a stronger adapter let heads turn less, and half the learning rate breaks less.
POCKET: dict[str, Any] = {
    "strength": 0.88,
    "latent_lr": 0.01,
    "r2": 4,
    "reach": 1.0,
    "lora": LoraSettings(steps=20, rank=4),
}

METHODS: dict[str, Callable[..., Method]] = {"gooddrag": GoodDrag, "dragdiffusion": DragDiffusion}


def method_for(name: str, backbone: str = "pocket", /, **changes: Any) -> Method:
    """A method by name ("gooddrag", "dragdiffusion") with the settings that suit a backbone, some of them changed."""
    if name not in METHODS:
        raise BadInput(f"There is no method '{name}': choose one of {', '.join(METHODS)}.")
    make: Any = METHODS[name]
    base = make.for_pocket() if backbone == "pocket" else make()
    return base.with_settings(**changes) if changes else base


def _one_sentence(error: ValidationError, kind: type) -> str:
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        known = ", ".join(kind.model_fields)  # type: ignore[attr-defined]
        return f"{kind.__name__} has no setting '{where}': the settings are {known}."
    got = str(first["input"])[:60]
    return f"The setting '{where}' can't be {got!r}: {first['msg'][0].lower() + first['msg'][1:]}."
