"""The identity adapter: what it starts from, that it learns, and that folding it in is what peft does."""

import pytest
import torch
from peft import LoraConfig, set_peft_model_state_dict

from gooddrag.adapter import applied
from gooddrag.lora import ADAPTER, TARGETS, LoraSettings, train_identity


@pytest.fixture
def z0():
    return torch.randn(1, 4, 16, 16)


def weights_of(backbone, z0, **settings):
    *_, weights = train_identity(backbone, z0, LoraSettings(**settings), seed=3)
    return weights


def test_every_attention_projection_gets_a_low_rank_pair(tiny, z0):
    weights = weights_of(tiny, z0, steps=1, rank=3)
    layers = [n for n, m in tiny.unet.named_modules() if n.endswith(TARGETS) and ".attn" in n]
    assert {n.rsplit(".", 1)[0] for n in weights} == set(layers)
    assert all(value.shape[0 if name.endswith("down") else 1] == 3 for name, value in weights.items())


def test_learning_lowers_the_loss(tiny, z0):
    *losses, _ = train_identity(tiny, z0, LoraSettings(steps=60, rank=4, lr=5e-3), seed=0)
    assert sum(losses[-15:]) < 0.9 * sum(losses[:15])


def test_an_adapter_folded_in_is_pefts_own(tiny, z0):
    weights = weights_of(tiny, z0, steps=3, rank=4, lr=1e-2)
    with torch.no_grad():
        with applied(tiny.unet, weights):
            folded = tiny.raw_predict(z0, 401)
        plain = tiny.raw_predict(z0, 401)
        config = LoraConfig(r=4, lora_alpha=4, target_modules=list(TARGETS))
        tiny.unet.add_adapter(config, adapter_name=ADAPTER)
        names = {n.replace(".down", ".lora_A.weight").replace(".up", ".lora_B.weight"): v for n, v in weights.items()}
        set_peft_model_state_dict(tiny.unet, names, adapter_name=ADAPTER)
        theirs = tiny.raw_predict(z0, 401)
        tiny.unet.unload_lora()
    torch.testing.assert_close(folded, theirs, atol=1e-5, rtol=1e-4)
    assert not torch.allclose(folded, plain, atol=1e-4)


def test_the_same_seed_learns_the_same_adapter_and_leaves_the_global_generator_alone(tiny, z0):
    torch.manual_seed(1)
    expected = torch.rand(1)
    torch.manual_seed(1)
    one = weights_of(tiny, z0, steps=2)
    assert torch.equal(torch.rand(1), expected)
    two = weights_of(tiny, z0, steps=2)
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_a_wide_latent_is_learned_in_square_windows(tiny):
    assert weights_of(tiny, torch.randn(1, 4, 16, 24), steps=2, rank=2)
