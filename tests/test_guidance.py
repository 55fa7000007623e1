"""Prompt-guided drags: denoising goes further along what the prompt changes, inside the mask."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from gooddrag.backbone import load_backbone
from gooddrag.diffusion import guided
from gooddrag.editor import edit, iter_edit
from gooddrag.errors import BadInput
from gooddrag.methods import DragDiffusion
from gooddrag.steps import Denoised
from tests.test_backbone import make_sd, make_xl, photo_task


@pytest.fixture
def prompted(tiny):
    """The tiny engine with a prompt: another context than that of no prompt."""
    return replace(tiny, context=torch.randn(1, 8, 64), wordless=(tiny.context, {}))


def last_latent(backbone, task, method):
    return [s.latent for s in iter_edit(backbone, task, method, use_cache=False) if isinstance(s, Denoised)][-1]


def test_guidance_is_linear_between_the_two_predictions():
    with_prompt, without = torch.randn(2, 1, 4, 8, 8)
    assert torch.allclose(guided(with_prompt, without, 1.0), with_prompt, atol=1e-6)
    assert torch.equal(guided(with_prompt, without, 0.0), without)
    further = guided(with_prompt, without, 3.0)
    assert torch.allclose(further - without, 3 * (with_prompt - without), atol=1e-5)


def test_guidance_changes_the_picture_inside_the_mask_only(prompted, task, quick):
    plain = last_latent(prompted, task, quick.with_settings(drags=0))
    followed = last_latent(prompted, task, quick.with_settings(drags=0, guidance=4.0, mutual_attention="off"))
    alike = last_latent(prompted, task, quick.with_settings(drags=0, mutual_attention="off"))
    changed = (followed - alike).abs().sum(1)[0]
    inside = torch.zeros(16, 16, dtype=torch.bool)
    inside[2:14, 2:14] = True
    assert changed[inside].max() > 0.05
    assert changed[inside].mean() > changed[~inside].mean()  # outside only what one step hands on to the next
    assert not torch.equal(plain, followed)


def test_one_denoise_step_is_guided_in_the_mask_and_nowhere_else(prompted, task, quick):
    how = quick.with_settings(drags=0, mutual_attention="off")

    def first(method):
        return next(s.latent for s in iter_edit(prompted, task, method, use_cache=False) if isinstance(s, Denoised))

    changed = (first(how.with_settings(guidance=4.0)) - first(how)).abs().sum(1)[0]
    assert changed[2:14, 2:14].min() > 0
    outside = changed.clone()
    outside[2:14, 2:14] = 0
    assert outside.max() == 0


def test_both_predictions_look_at_the_source_alike(prompted, task, quick):
    """With a prompt that says nothing new, guidance changes nothing, mutual attention or not."""
    same = replace(prompted, wordless=(prompted.context, {}))
    how = quick.with_settings(mutual_attention="always")
    apart = last_latent(same, task, how.with_settings(guidance=7.0)) - last_latent(same, task, how)
    assert apart.abs().max() < 1e-3


def test_guidance_without_a_prompt_is_refused(tiny, pocket, task, quick):
    for backbone in (tiny, pocket):
        with pytest.raises(BadInput, match="needs a prompt") as error:
            edit(backbone, task, quick.with_settings(guidance=3.0))
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("make", [make_sd, make_xl])
def test_folders_with_a_prompt_can_be_guided(make, tmp_path):
    backbone = load_backbone(make(tmp_path), "a cat", device="cpu")
    assert backbone.wordless is not None
    assert not torch.equal(backbone.context, backbone.unprompted.context)
    task = photo_task()
    how = DragDiffusion(steps=10, strength=0.4, drags=1, r1=2, lora=None)
    plain, guided_ = (np.asarray(edit(backbone, task, m).image, int) for m in (how, how.with_settings(guidance=5.0)))
    assert plain.shape == guided_.shape == (*task.size[::-1], 3)
    assert (plain != guided_).any()


def test_an_engine_without_a_prompt_keeps_no_second_text(tmp_path):
    assert load_backbone(make_sd(tmp_path), device="cpu").wordless is None
