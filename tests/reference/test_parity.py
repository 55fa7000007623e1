"""The engine against the literal pipeline on a folder of Stable Diffusion's shape: picture in, picture out.

All of the published code's quirks together, then each by itself: with it the engine is the literal pipeline, without it
no longer. In double precision, since Adam makes rounding errors large where a gradient is almost zero.
"""

from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL, StableDiffusionPipeline, UNet2DConditionModel
from transformers import CLIPTextModel

from gooddrag.backbone import VaeCodec, load_backbone
from gooddrag.editor import iter_edit
from gooddrag.errors import EditFailed
from gooddrag.features import Frame
from gooddrag.methods import OFFICIAL, DragDiffusion, GoodDrag
from gooddrag.steps import Denoised, Dragged
from gooddrag.supervision import Points, patch_sum
from gooddrag.task import DragTask
from tests.reference.literal import LiteralSettings
from tests.reference.literal_pipeline import (
    Outcome,
    Picture,
    literal_dragdiffusion_picture,
    literal_gooddrag,
    official_cells,
    official_pixels,
    read_model,
)
from tests.test_backbone import scheduler, text_config, tokenizer

STEPS, STRENGTH, R1, R2, BETA = 6, 0.5, 3, 4, 3.0


@dataclass(frozen=True)
class Scenario:
    """A task and the settings that it needs; drags are handles with their targets, in picture pixels."""

    drags: tuple
    mask: bool = True
    size: tuple[int, int] = (100, 76)  # no multiples of 8; 21 of 76 px is half a cell in single precision alone
    timesteps: int = 2
    per_denoise: int = 2
    J: int = 2
    lr: float = 0.02

    @property
    def picture(self) -> Picture:
        width, height = self.size
        image = np.random.default_rng(4).integers(0, 256, (height, width, 3)).astype(np.uint8)
        area = np.zeros((height, width), bool)
        area[9 : height - 7, 5 : width - 9] = True
        handles, targets = np.array(self.drags, float).transpose(1, 0, 2)
        return Picture(image, handles, targets, area if self.mask else None)

    @property
    def task(self) -> DragTask:
        picture = self.picture
        return DragTask(picture.image, picture.handles, picture.targets, picture.mask)

    def settings(self, compat: str) -> LiteralSettings:
        return LiteralSettings(
            steps=STEPS, strength=STRENGTH, t2=self.timesteps, per_denoise=self.per_denoise, J=self.J, r1=R1, r2=R2,
            beta=BETA, lr=self.lr, compat=compat,
        )  # fmt: skip

    def method(self, compat: str) -> GoodDrag:
        return GoodDrag(
            steps=STEPS, strength=STRENGTH, drags=self.timesteps * self.per_denoise, per_denoise=self.per_denoise,
            supervision_steps=self.J, r1=R1, r2=R2, beta=BETA, latent_lr=self.lr, lora=None, compat=compat,
        )  # fmt: skip


TWO = Scenario((((44, 39), (64, 41)), ((60, 21), (44, 46))))
UNMASKED = replace(TWO, mask=False)
ALIGNED = replace(TWO, size=(96, 72))
NEAR = replace(TWO, drags=(((44, 36), (48, 38)), ((60, 30), (62, 32))))  # within β; within reach
STILL = replace(TWO, per_denoise=4, J=1, lr=1e-4)  # too little for tracking to see
TOP = replace(TWO, drags=(((44, 6), (64, 40)),))  # the search window begins before the map
BOTTOM = replace(TWO, drags=(((44, 64), (44, 72)),))  # the patch ahead ends beyond it
BLENDED = Scenario((((44, 62), (44, 72)),), timesteps=1, per_denoise=1, J=1)  # it ends with the map, its blend beyond
SEARCHED = replace(TWO, drags=(((44, 68), (46, 40)),))  # the search window ends beyond the map, which is no error


def make_folder(folder):
    """Stable Diffusion 1.5 as diffusers saves it, with random weights and hardly any channels."""
    torch.manual_seed(0)
    unet = UNet2DConditionModel(
        sample_size=8, block_out_channels=(8, 8, 16, 16), norm_num_groups=4, cross_attention_dim=16,
        attention_head_dim=2,
    )  # fmt: skip
    vae = AutoencoderKL(
        block_out_channels=(8,) * 4, norm_num_groups=4, latent_channels=4, layers_per_block=1,
        down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
    )  # fmt: skip
    pipe = StableDiffusionPipeline(
        vae=vae, text_encoder=CLIPTextModel(text_config(16)), tokenizer=tokenizer(folder), unet=unet,
        scheduler=scheduler("epsilon"), safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    )  # fmt: skip
    pipe.save_pretrained(folder / "model")
    return folder / "model"


class DoubleLatents(VaeCodec):
    """The engine's codec; all that follows works as precisely as the latent that it is given."""

    def encode(self, image):
        return super().encode(image).double()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_folder(tmp_path_factory.mktemp("sd"))


@pytest.fixture(scope="module")
def backbone(folder):
    loaded = load_backbone(folder, device="cpu", dtype=torch.float64)
    return replace(loaded, codec=DoubleLatents(loaded.codec.vae))


@pytest.fixture(scope="module")
def model(folder):
    return read_model(folder)


@pytest.fixture(scope="module")
def literal(model):
    """(scenario, compat) → what the literal pipeline makes of it."""
    return cache(lambda scenario, compat: literal_gooddrag(model, scenario.picture, scenario.settings(compat)))


@pytest.fixture(scope="module")
def engine(backbone):
    """(task, method) → what the engine makes of it."""
    return lambda task, method: outcome(list(iter_edit(backbone, task, method, use_cache=False)))


@pytest.fixture(scope="module")
def official(engine):
    """Scenario → what the engine makes of it with all quirks."""
    return cache(lambda scenario: engine(scenario.task, scenario.method("official")))


def outcome(steps) -> Outcome:
    drags = [s for s in steps if isinstance(s, Dragged)]
    final = [s for s in steps if isinstance(s, Denoised)][-1].latent
    return Outcome([s.handles for s in drags], [s.latent for s in drags], final, np.asarray(steps[-1].image))


def differences(ours: Outcome, theirs: Outcome) -> set[str]:
    """What of two edits isn't the same."""
    found = set()
    if len(ours.latents) != len(theirs.latents):
        found.add("number of drags")
    if any(not np.array_equal(p, q) for p, q in zip(ours.points, theirs.points, strict=False)):
        found.add("points")
    if any(apart(z, w) for z, w in zip(ours.latents, theirs.latents, strict=False)):
        found.add("latents")
    if apart(ours.final, theirs.final):
        found.add("last latent")
    if not np.array_equal(ours.image, theirs.image):
        found.add("picture")
    return found


def apart(z, w) -> bool:
    return z.shape != w.shape or bool((z - w).abs().max() > 1e-4)


@pytest.mark.parametrize("compat", ["official", "paper"])
def test_a_folder_edits_a_picture_as_the_literal_pipeline_does(engine, literal, compat):
    ours, theirs = engine(TWO.task, TWO.method(compat)), literal(TWO, compat)
    assert differences(ours, theirs) == set()
    assert ours.image.shape == (76, 100, 3)
    assert ours.final.shape == ((1, 4, 9, 12) if compat == "official" else (1, 4, 10, 13))
    assert len(ours.latents) == 4
    assert len({str(p) for p in ours.points}) > 1, "the handles must move, or tracking is not compared"


def test_a_folder_edits_a_picture_as_dragdiffusions_literal_pipeline_does(engine, model):
    method = DragDiffusion(compat="official", steps=STEPS, strength=STRENGTH, drags=4, latent_lr=0.05, lora=None)
    ours = engine(TWO.task, method)
    theirs = literal_dragdiffusion_picture(model, TWO.picture, 4, steps=STEPS, strength=STRENGTH, lr=0.05)
    # The published code tracks at the beginning of a step, the engine at its end.
    assert differences(replace(ours, points=ours.points[:-1]), replace(theirs, points=theirs.points[1:])) == set()
    assert len({str(p) for p in ours.points}) > 1, "the handles must move, or tracking is not compared"


@pytest.mark.parametrize("size", [(512, 748), (100, 76), (333, 909)])
def test_every_pixel_goes_to_the_published_codes_cell_and_back(size):
    width, height = size
    grid = (height // 2, width // 2)
    points = np.array([(k % width, k % height) for k in range(max(size))], float)
    frame = Frame.fit(size, 8, 8, official=True)
    cells, theirs = frame.to_cells(points), official_cells(points, (height, width), grid)
    # The last pixel's cell may lie beyond the map, where the published code fails and the engine goes to the map's end.
    assert cells.flip(1).tolist() == theirs.minimum(torch.tensor(grid) - 1).tolist()
    assert frame.to_pixels(cells).tolist() == official_pixels(cells.flip(1), (height, width), grid).tolist()


def without(name: str, value: Any):
    """Switch off one of the method's quirks."""
    quirks = replace(OFFICIAL, **{name: value})
    return lambda patch: patch.setattr(GoodDrag, "quirks", property(lambda self: quirks))


def paper_way(name: str):
    """Let one conversion between picture and grids be the paper's."""

    def switch(patch):
        ours = getattr(Frame, name)
        patch.setattr(Frame, name, lambda frame, *given: ours(replace(frame, official=False), *given))

    return switch


def padded(patch) -> None:
    """Let pictures be padded, where the published code rounds their size down."""
    fit = Frame.fit
    patch.setattr(Frame, "fit", lambda *sizes, official=False: replace(fit(*sizes), official=official))


def beyond_the_target(patch) -> None:
    """Let a step be β long however near its target is, as the paper writes it."""

    def step_vector(points: Points, beta: float) -> torch.Tensor:
        return beta * (points.g - points.p) / points.distance[:, None]

    patch.setattr("gooddrag.supervision.step_vector", step_vector)


QUIRKS = {
    "Q1 a patch costs its mean": (TWO, without("norm", patch_sum), "latents"),
    "Q2 no step beyond the target": (NEAR, beyond_the_target, "latents"),
    "Q3 tracking with stale features": (TWO, without("stale_tracking", False), "points"),
    "Q4 tracking once more at each timestep": (TWO, without("retrack", False), "points"),
    "Q6 no mask locks everything": (UNMASKED, without("empty_mask_locks", False), "latents"),
    "Q17 giving up on handles that stay": (STILL, without("patience", None), "number of drags"),
    "Q19 sizes rounded down": (TWO, padded, "last latent"),
    "Q19 the picture stretched": (TWO, paper_way("to_image"), "picture"),
    "Q19 grey levels cut off": (ALIGNED, paper_way("to_image"), "picture"),
    "points scaled to cells": (TWO, paper_way("to_cells"), "latents"),
    "points rounded to pixels": (TWO, paper_way("to_pixels"), "points"),
    "the mask of the nearest pixels": (TWO, paper_way("to_latent_mask"), "latents"),
}


@pytest.mark.parametrize(("scenario", "switch_off", "differs"), QUIRKS.values(), ids=QUIRKS)
def test_each_quirk_is_the_published_codes_and_matters(
    scenario, switch_off, differs, official, literal, engine, monkeypatch
):
    theirs = literal(scenario, "official")
    assert differences(official(scenario), theirs) == set()
    switch_off(monkeypatch)
    assert differs in differences(engine(scenario.task, scenario.method("official")), theirs)


SETTINGS = {
    "Q12 plain attention while dragging": (TWO, {"mutual_attention": "always"}, "last latent"),
    "Q16 arrived within 2 cells": (NEAR, {"reach": 1.0}, "latents"),
}


@pytest.mark.parametrize(("scenario", "other", "differs"), SETTINGS.values(), ids=SETTINGS)
def test_what_is_a_setting_here_is_the_published_codes_and_matters(scenario, other, differs, official, literal, engine):
    theirs = literal(scenario, "official")
    assert differences(official(scenario), theirs) == set()
    assert differs in differences(engine(scenario.task, scenario.method("official").with_settings(**other)), theirs)


@pytest.mark.parametrize("scenario", [TOP, BOTTOM, BLENDED], ids=["top", "bottom", "blended"])
def test_q8_the_border_fails_as_in_the_published_code(scenario, literal, engine, monkeypatch):
    with pytest.raises(RuntimeError, match="map"):
        literal(scenario, "official")
    with pytest.raises(EditFailed, match="Q8"):
        engine(scenario.task, scenario.method("official"))
    without("border_fails", False)(monkeypatch)
    assert engine(scenario.task, scenario.method("official")).latents


def test_a_search_window_is_cut_at_the_maps_end_as_in_the_published_code(literal, official):
    assert differences(official(SEARCHED), literal(SEARCHED, "official")) == set()
