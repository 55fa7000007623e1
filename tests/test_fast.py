"""The short cut: passes that end early, and `GoodDrag.fast`."""

import pytest
import torch

from gooddrag.editor import edit, iter_edit
from gooddrag.errors import BadInput
from gooddrag.loop import GradientEdit
from gooddrag.methods import DragNoise, GoodDrag, method_for
from gooddrag.steps import Denoised, Dragged, Supervised


@pytest.fixture
def last_block(tiny):
    """How often the U-Net's last block runs."""
    runs = []
    hook = tiny.unet.up_blocks[-1].register_forward_hook(lambda *_: runs.append(1))
    yield runs
    hook.remove()


def test_features_alone_are_those_of_the_whole_pass_and_so_is_their_gradient(last_block, tiny):
    z = torch.randn(1, 4, 16, 16, requires_grad=True)
    whole = tiny.predict(z, 401, features=True).features
    (wanted,) = torch.autograd.grad(whole.square().sum(), z)
    last_block.clear()
    alone = tiny.features(z, 401)
    assert not last_block
    assert torch.equal(alone, whole)
    (gradient,) = torch.autograd.grad(alone.square().sum(), z)
    assert torch.equal(gradient, wanted)


def test_no_hook_is_left_when_a_pass_ends_early(tiny):
    tiny.features(torch.randn(1, 4, 16, 16), 401)
    assert not tiny.feature_block._forward_hooks
    assert tiny.predict(torch.randn(1, 4, 16, 16), 401).eps.shape == (1, 4, 16, 16)


@pytest.mark.parametrize("change", [{"mask_weight": 0.0}, {"mask_term": "latent"}])
def test_where_drags_need_no_noise_they_leave_the_unet_early_and_nothing_changes(
    tiny, task, quick, change, last_block, monkeypatch
):
    method = quick.with_settings(**change)
    early, during_drags = [], 0
    for step in iter_edit(tiny, task, method, use_cache=False):
        if isinstance(step, Supervised | Dragged):
            during_drags += len(last_block)
        last_block.clear()
        early += [step.latent] if isinstance(step, Dragged | Denoised) else []
    # the source's features at the two dragged timesteps were kept from its own denoising, so nothing at all is left
    assert during_drags == 0
    monkeypatch.setattr(GradientEdit, "_asks_for_noise", True)
    whole = [
        s.latent for s in iter_edit(tiny, task, method, use_cache=False) if isinstance(s, Dragged | Denoised)
    ]  # fmt: skip
    for one, other in zip(early, whole, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-5)


def test_a_mask_term_on_the_latent_holds_the_rest_in_place(tiny, task, quick):
    def moved(weight):
        method = quick.with_settings(mask_term="latent", mask_weight=weight, latent_lr=0.05)
        steps = [s for s in iter_edit(tiny, task, method, use_cache=False) if isinstance(s, Dragged)]
        return steps[-1].perturbation[1]

    assert moved(10.0) < moved(0.0)


def test_dragnoise_keeps_the_papers_mask_term():
    with pytest.raises(BadInput, match="mask_term"):
        DragNoise(mask_term="latent")


def test_the_fast_way_takes_a_quarter_of_the_passes_to_drag_and_no_adapter():
    def passes(method):
        return method.drags * method.passes_per_drag

    assert 4 * passes(GoodDrag.fast()) <= passes(GoodDrag.for_pocket())
    assert GoodDrag.fast().lora is None


def test_fast_is_a_method_by_name_and_can_be_changed(tiny, task):
    method = method_for("gooddrag-fast", "tiny", drags=2, steps=10)
    assert method == GoodDrag.fast("tiny", drags=2, steps=10)
    assert method.strength == GoodDrag().strength
    assert method_for("gooddrag-fast").strength == GoodDrag.for_pocket().strength
    result = edit(tiny, task, method, use_cache=False)
    assert result.settings["method"] == "gooddrag"
    assert result.settings["settings"]["mask_term"] == "latent"


def test_an_unknown_method_is_told_the_short_cut_too():
    with pytest.raises(BadInput, match="gooddrag-fast"):
        method_for("gooddrag-slow")
