"""Single-file checkpoints, other autoencoders, distilled U-Nets, and sentences on weights that can't be had."""

import json
from unittest.mock import Mock

import pytest
import torch
from diffusers import DiffusionPipeline, LatentConsistencyModelPipeline
from huggingface_hub.errors import GatedRepoError, OfflineModeIsEnabled, RepositoryNotFoundError
from safetensors.torch import save_file

from gooddrag.architectures import ARCHITECTURES, VAE_LEVELS
from gooddrag.attention import self_attention_layers
from gooddrag.backbone import VaeCodec, from_pipeline, load_backbone, no_guidance
from gooddrag.editor import edit
from gooddrag.errors import BadInput
from gooddrag.methods import GoodDrag
from tests.single_files import TINY, make_pipeline, original, original_vae
from tests.test_backbone import QUICK, assert_one_sentence, photo_task, tokenizer

PARAMETERS = {"sd15": 859_520_964, "sd21": 865_910_724, "sdxl": 2_567_463_684}  # as their publishers count


@pytest.fixture(scope="module", params=["sd15", "sd21", "sdxl"])
def pair(request, tmp_path_factory):
    """A single file, and the pipeline whose weights it holds."""
    pipe = make_pipeline(request.param)
    path = tmp_path_factory.mktemp(request.param) / "model.safetensors"
    save_file(original(pipe), path)
    return path, pipe


@pytest.fixture(scope="module")
def sd_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("file") / "model.safetensors"
    save_file(original(make_pipeline("sd15")), path)
    return path


def test_a_single_file_predicts_what_its_pipeline_predicts(pair):
    path, pipe = pair
    ours, theirs = load_backbone(path, device="cpu"), from_pipeline(pipe, "the same")
    z, image = torch.randn(1, 4, 8, 16), torch.rand(1, 3, 64, 64) * 2 - 1
    with torch.no_grad():
        torch.testing.assert_close(ours.predict(z, 401).eps, theirs.predict(z, 401).eps)
    torch.testing.assert_close(ours.encode(image), theirs.encode(image))
    torch.testing.assert_close(ours.context, theirs.context)
    assert (ours.prediction, ours.alphas, ours.latent_scale) == (theirs.prediction, theirs.alphas, theirs.latent_scale)


def test_a_single_file_edits_a_picture_that_is_not_square(sd_file):
    result = edit(load_backbone(sd_file, device="cpu"), photo_task(), GoodDrag(**QUICK, per_denoise=2), use_cache=False)
    assert result.image.size == (100, 72)


def test_a_text_beside_the_file_says_what_it_predicts(sd_file, tmp_path):
    path = tmp_path / "other.safetensors"
    path.write_bytes(sd_file.read_bytes())
    path.with_suffix(".yaml").write_text('model:\n  params:\n    parameterization: "v"\n')
    assert load_backbone(sd_file, device="cpu").prediction == "epsilon"
    assert load_backbone(path, device="cpu").prediction == "v_prediction"


def test_a_prompt_needs_the_vocabulary_beside_the_file(sd_file, tmp_path):
    path = tmp_path / "model.safetensors"
    path.write_bytes(sd_file.read_bytes())
    with pytest.raises(BadInput, match=r"vocab\.json") as caught:
        load_backbone(path, prompt="a cat", device="cpu")
    assert_one_sentence(caught.value)
    (tmp_path / "tokenizer").mkdir()
    tokenizer(tmp_path / "tokenizer")
    with_prompt = load_backbone(path, prompt="a cat", device="cpu")
    assert not torch.equal(with_prompt.context, load_backbone(path, device="cpu").context)


def wrong_files(folder, whole):
    unet_only = {name: value for name, value in whole.items() if "diffusion_model" in name}
    inpainting = dict(whole)
    inpainting["model.diffusion_model.input_blocks.0.0.weight"] = torch.zeros(32, 9, 3, 3)
    holes = {name: value for name, value in whole.items() if "output_blocks.3.0" not in name}
    for name, tensors in {
        "LoRA": {"lora_unet_down.weight": torch.zeros(1)},
        "autoencoder": {n.removeprefix("first_stage_model."): v for n, v in whole.items() if "first_stage" in n},
        "whole checkpoint": unet_only,
        "inpainting": inpainting,
        "lacks": holes,
        "diffusers folder": {"down_blocks.0.resnets.0.conv1.weight": torch.zeros(1)},
        "FLUX": {"double_blocks.0.weight": torch.zeros(1)},
        "known": {"strange": torch.zeros(1)},
    }.items():
        path = folder / f"{name}.safetensors"
        save_file(tensors, path)
        yield name, path
    for word, name, content in (
        ("pickled", "old.ckpt", b"\x80\x04cos\nsystem\n"),
        ("LFS", "pointer.safetensors", b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n"),
        ("cut short", "short.safetensors", b"\x10" + bytes(2000)),
    ):
        (folder / name).write_bytes(content)
        yield word, folder / name
    yield "no file", folder / "nowhere.safetensors"


def test_each_wrong_file_is_told_what_it_is(sd_file, tmp_path):
    for word, path in wrong_files(tmp_path, original(make_pipeline("sd15"))):
        with pytest.raises(BadInput, match=word) as caught:
            load_backbone(path, device="cpu")
        assert_one_sentence(caught.value)


def test_a_folder_of_single_files_and_one_part_of_a_model_are_told_so(sd_file, tmp_path):
    with pytest.raises(BadInput, match=r"model\.safetensors"):
        load_backbone(sd_file.parent, device="cpu")
    make_pipeline("sd15").save_pretrained(tmp_path)
    with pytest.raises(BadInput, match="one part"):
        load_backbone(tmp_path / "unet", device="cpu")


def test_another_autoencoder_comes_from_a_folder_or_a_file_in_either_naming(sd_file, tmp_path):
    torch.manual_seed(5)
    other = TINY["sd15"].build_vae().eval()
    other.save_pretrained(tmp_path / "vae")
    save_file({name: value.contiguous() for name, value in original_vae(other).items()}, tmp_path / "old.safetensors")
    save_file(other.state_dict(), tmp_path / "new.safetensors")
    z = torch.randn(1, 4, 8, 8)
    wanted, own = VaeCodec(other).decode(z), load_backbone(sd_file, device="cpu")
    for place in (tmp_path / "vae", tmp_path, tmp_path / "old.safetensors", tmp_path / "new.safetensors"):
        backbone = load_backbone(sd_file, device="cpu", vae=place)
        torch.testing.assert_close(backbone.decode(z), wanted)
        assert backbone.fingerprint != own.fingerprint


def test_an_autoencoder_that_does_not_fit_is_refused_in_one_sentence(sd_file, tmp_path):
    config = TINY["sd15"].vae | {"latent_channels": 8}
    type(TINY["sd15"].build_vae()).from_config(config).save_pretrained(tmp_path / "eight")
    (tmp_path / "tiny").mkdir()
    (tmp_path / "tiny" / "config.json").write_text(json.dumps({"_class_name": "AutoencoderTiny"}))
    for place in (
        tmp_path / "eight",
        tmp_path / "tiny",
        tmp_path,
        tmp_path / "no.safetensors",
        sd_file.with_suffix(".pt"),
    ):
        with pytest.raises(BadInput) as caught:
            load_backbone(sd_file, device="cpu", vae=place)
        assert_one_sentence(caught.value)
    with pytest.raises(BadInput, match="codec"):
        load_backbone("pocket", device="cpu", vae=tmp_path / "eight")


def test_a_distilled_unet_is_told_that_there_is_no_guidance(tmp_path):
    pipe = make_pipeline("sd15")
    pipe.unet = type(pipe.unet).from_config(TINY["sd15"].unet | {"time_cond_proj_dim": 33})
    pipe.save_pretrained(tmp_path)
    theirs = LatentConsistencyModelPipeline.get_guidance_scale_embedding(None, torch.zeros(1), 33)
    torch.testing.assert_close(no_guidance(33), theirs)
    backbone, z = load_backbone(tmp_path, device="cpu"), torch.randn(2, 4, 8, 8)
    with torch.no_grad():
        told = pipe.unet(z, 401, backbone.context.expand(2, -1, -1), timestep_cond=theirs.expand(2, -1)).sample
        torch.testing.assert_close(backbone.predict(z, 401).eps, told)
    assert edit(backbone, photo_task(), GoodDrag(**QUICK, per_denoise=2), use_cache=False).image.size == (100, 72)


def test_weights_in_half_precision_alone_are_found(tmp_path):
    make_pipeline("sd15").save_pretrained(tmp_path, variant="fp16")
    assert load_backbone(tmp_path, device="cpu").unet.dtype == torch.float32


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (GatedRepoError("gated", response=Mock()), "agree"),
        (RepositoryNotFoundError("none", response=Mock()), "no model 'stabilityai"),
        (OfflineModeIsEnabled("offline"), "--local-dir"),
    ],
)
def test_the_hub_being_closed_gated_or_empty_is_one_sentence_each(monkeypatch, error, words):
    def fail(*_, **__):
        raise OSError("something") from error

    monkeypatch.setattr(DiffusionPipeline, "from_pretrained", fail)
    with pytest.raises(BadInput, match=words) as caught:
        load_backbone("sdxl", device="cpu")
    assert "stabilityai/stable-diffusion-xl-base-1.0" in str(caught.value)
    assert_one_sentence(caught.value)


@pytest.mark.parametrize("family", list(ARCHITECTURES))
def test_each_familys_numbers_give_its_parameters_feature_block_and_late_attention(family):
    with torch.device("meta"):
        unet, vae = ARCHITECTURES[family].build_unet(), ARCHITECTURES[family].build_vae()
    assert sum(p.numel() for p in unet.parameters()) == PARAMETERS[family]
    assert vae.config.block_out_channels == list(VAE_LEVELS)
    block = unet.up_blocks[len(unet.up_blocks) - 2]
    assert block.resnets[-1].out_channels == 640
    assert len(self_attention_layers(list(unet.up_blocks)[-2:])) == 6


def test_tiles_leave_small_pictures_alone_and_come_near_on_large_ones():
    torch.manual_seed(0)
    vae = TINY["sd15"].build_vae().eval()

    def both(tile, width, height):
        codec, x, z = (
            VaeCodec(vae, tile=tile),
            torch.ones(1, 3, height, width),
            torch.ones(1, 4, height // 8, width // 8),
        )
        chance = torch.Generator().manual_seed(1)
        return codec.encode(x.uniform_(-1, 1, generator=chance)), codec.decode(z.normal_(generator=chance))

    for tiled, whole in zip(both(64, 64, 64), both(1024, 64, 64), strict=True):
        assert torch.equal(tiled, whole)
    for tiled, whole in zip(both(64, 104, 160), both(1024, 104, 160), strict=True):
        assert tiled.shape == whole.shape
        assert 0.85 < torch.corrcoef(torch.stack([tiled.flatten(), whole.flatten()]))[0, 1] < 0.9999
