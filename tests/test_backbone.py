"""Engines: pocket's own, and Stable Diffusion folders that are made here with random weights."""

import json
from dataclasses import replace
from unittest.mock import patch

import numpy as np
import pytest
import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from gooddrag.backbone import load_backbone
from gooddrag.diffusion import add_noise
from gooddrag.editor import edit
from gooddrag.errors import BadInput
from gooddrag.methods import DragDiffusion, GoodDrag
from gooddrag.task import DragTask

LEVELS = (32, 32, 64, 64)


def tokenizer(folder):
    """A CLIP tokenizer that knows only letters."""
    letters = [chr(c) for c in range(33, 127)]
    words = [*letters, *(f"{x}</w>" for x in letters), "<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({word: k for k, word in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    return CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=77)


def text_config(width):
    return CLIPTextConfig(
        vocab_size=200, hidden_size=width, intermediate_size=32, num_hidden_layers=2, num_attention_heads=4,
        projection_dim=width, bos_token_id=188, eos_token_id=189, pad_token_id=189,
    )  # fmt: skip


def vae():
    return AutoencoderKL(
        block_out_channels=(16, 16, 16, 16), norm_num_groups=8, latent_channels=4, layers_per_block=1,
        down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
    )  # fmt: skip


def scheduler(prediction):
    return DDIMScheduler(
        beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012, clip_sample=False, set_alpha_to_one=False,
        steps_offset=1, prediction_type=prediction,
    )  # fmt: skip


def make_sd(folder, prediction="epsilon"):
    torch.manual_seed(0)
    unet = UNet2DConditionModel(
        sample_size=8, block_out_channels=LEVELS, layers_per_block=2, norm_num_groups=8, cross_attention_dim=32,
        attention_head_dim=4,
    )  # fmt: skip
    pipe = StableDiffusionPipeline(
        vae=vae(), text_encoder=CLIPTextModel(text_config(32)), tokenizer=tokenizer(folder), unet=unet,
        scheduler=scheduler(prediction), safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    )  # fmt: skip
    pipe.save_pretrained(folder / "model")
    return folder / "model"


def make_xl(folder):
    torch.manual_seed(0)
    unet = UNet2DConditionModel(
        sample_size=8, block_out_channels=LEVELS[1:], layers_per_block=2, norm_num_groups=8, cross_attention_dim=64,
        attention_head_dim=4, transformer_layers_per_block=(1, 1, 2), addition_embed_type="text_time",
        addition_time_embed_dim=8, projection_class_embeddings_input_dim=8 * 6 + 32,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    )  # fmt: skip
    words = tokenizer(folder)
    pipe = StableDiffusionXLPipeline(
        vae=vae(), text_encoder=CLIPTextModel(text_config(32)), tokenizer=words, tokenizer_2=words, unet=unet,
        text_encoder_2=CLIPTextModelWithProjection(text_config(32)), scheduler=scheduler("epsilon"),
    )  # fmt: skip
    pipe.save_pretrained(folder / "model")
    return folder / "model"


@pytest.fixture(scope="module", params=["sd15", "sd21", "sdxl"])
def sd_folder(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "sdxl":
        return make_xl(folder)
    return make_sd(folder, "v_prediction" if request.param == "sd21" else "epsilon")


def photo_task(width=100, height=72):
    picture = np.random.default_rng(1).integers(0, 256, (height, width, 3)).astype(np.uint8)
    return DragTask(picture, [(40, 30)], [(60, 34)])


QUICK = {"steps": 8, "drags": 3, "supervision_steps": 1, "lora": {"steps": 1, "rank": 2}}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_stable_diffusion_folder_edits_a_picture_of_odd_size(sd_folder, dtype):
    backbone = load_backbone(sd_folder, prompt="a cat", device="cpu", dtype=dtype)
    assert backbone.latent_scale == 8
    result = edit(backbone, photo_task(), GoodDrag(**QUICK, per_denoise=2), use_cache=False)
    assert result.image.size == (100, 72)
    assert result.trace.drags["drag"].max() == 3


def test_dragdiffusion_and_official_mode_run_on_a_folder_too(sd_folder):
    backbone = load_backbone(sd_folder, device="cpu")
    for method in (DragDiffusion(**QUICK), GoodDrag(**QUICK, compat="official", r2=3, r1=2)):
        assert edit(backbone, photo_task(), method, use_cache=False).image.size == (100, 72)


def test_features_come_from_the_first_full_size_decoder_block(sd_folder):
    backbone = load_backbone(sd_folder, device="cpu")
    z = torch.randn(1, 4, 8, 16)
    seen = backbone.predict(z, 401, features=True)
    assert seen.eps.shape == z.shape
    assert seen.features.shape[2:] == z.shape[2:]


def test_velocity_and_noise_predictions_agree_with_diffusers(tmp_path):
    backbone = load_backbone(make_sd(tmp_path, "v_prediction"), device="cpu")
    z, t = torch.randn(1, 4, 8, 8), 401
    with torch.no_grad():
        ours = backbone.predict(z, t).eps
        v = backbone.raw_predict(z, t)
    theirs = scheduler("v_prediction")
    theirs.set_timesteps(50)
    level = theirs.alphas_cumprod[t]
    torch.testing.assert_close(ours, level.sqrt() * v + (1 - level).sqrt() * z, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_a_model_that_gives_the_right_answer_predicts_the_noise(tiny, prediction):
    z0, noise, t = torch.randn(2, 4, 8, 8), torch.randn(2, 4, 8, 8), torch.tensor([401, 21])
    backbone = replace(tiny, prediction=prediction)
    z = torch.cat(
        [add_noise(a, e, backbone.alpha_bar(int(s))) for a, e, s in zip(z0[:, None], noise[:, None], t, strict=True)]
    )
    answer = backbone.right_answer(z0, noise, t)
    with patch.object(type(backbone), "raw_predict", lambda *_: answer):
        torch.testing.assert_close(backbone.predict(z, t).eps, noise, atol=1e-4, rtol=1e-4)


def assert_one_sentence(error):
    assert str(error).endswith(".")
    assert "\n" not in str(error)


def test_a_missing_folder_a_hub_id_and_a_wrong_folder_get_one_sentence(tmp_path):
    for name in (tmp_path, "./nowhere", "sd15", "nobody/nothing"):
        with pytest.raises(BadInput) as caught:
            load_backbone(name, device="cpu")
        assert_one_sentence(caught.value)


def test_pickled_weights_are_never_loaded(tmp_path):
    folder = make_sd(tmp_path)
    for weights in folder.rglob("*.safetensors"):
        weights.with_suffix(".bin").write_bytes(b"\x80\x04cos\nsystem\n")
        weights.unlink()
    with pytest.raises(BadInput, match="safetensors") as caught:
        load_backbone(folder, device="cpu")
    assert_one_sentence(caught.value)


def test_incomplete_pocket_weights_say_how_to_get_them_back(tmp_path):
    from gooddrag.backbone import load_pocket

    with pytest.raises(BadInput, match="git checkout"):
        load_pocket(tmp_path)


def test_pocket_says_that_it_knows_creatures_only(pocket):
    photo, creature = photo_task().image.resize((512, 717)), photo_task().image.resize((64, 64))
    (note,) = pocket.notes(photo)
    assert "creatures" in note
    assert note.count(".") == 1
    assert pocket.notes(creature) == []


def test_the_fingerprint_depends_on_the_weights(tiny):
    from tests.conftest import make_tiny_backbone

    assert tiny.fingerprint == make_tiny_backbone().fingerprint
    assert tiny.fingerprint != make_tiny_backbone(seed=1).fingerprint


def test_pockets_codec_keeps_pictures_and_latents(pocket):
    from gooddrag.pocket.tasks import make_task

    image = make_task("move", 3).task.image
    x = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float() / 127.5 - 1
    z = pocket.encode(x)
    assert 10 * torch.log10(4 / (pocket.decode(z) - x).square().mean()) > 28  # dB
    torch.testing.assert_close(pocket.encode(pocket.decode(z)), z, atol=1e-4, rtol=1e-4)
