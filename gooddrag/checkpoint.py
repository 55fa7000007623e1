"""Single-file checkpoints: whole models and autoencoders in one `.safetensors` file, loaded without a hub.

A file says nothing of its architecture but the names and shapes of its tensors. The configurations are read off those,
written to a temporary folder, and handed to diffusers, which otherwise would fetch them from the internet.
"""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, StableDiffusionPipeline, StableDiffusionXLPipeline
from safetensors import SafetensorError, safe_open
from torch import nn
from transformers import CLIPTextConfig, CLIPTokenizer

from gooddrag.architectures import (
    Architecture,
    Config,
    scheduler_config,
    text_config,
    unet_config,
    vae_config,
    xl_extras,
)
from gooddrag.errors import BadInput
from gooddrag.hub import PICKLED

VOCABULARY = "openai/clip-vit-large-patch14"  # every Stable Diffusion uses its words
UNET, VAE = "model.diffusion_model.", "first_stage_model."
SD2_TEXT, XL_TEXT = "cond_stage_model.model.", "conditioner.embedders.1.model."
UNREAD_LAYER = 24  # SD 2 is conditioned on the layer before its text encoder's last; diffusers leaves the last one out

Shapes = dict[str, tuple[int, ...]]


@dataclass(frozen=True)
class TextNames:
    """How a family of text encoders names its tensors: under which prefixes, its words, a tensor of each layer."""

    prefixes: tuple[str, ...]
    words: str
    layer: str  # the first matrix of a layer's MLP
    activation: str


CLIP = TextNames(  # OpenAI's: the one of SD 1, the first of XL
    ("cond_stage_model.transformer.text_model.", "conditioner.embedders.0.transformer.text_model."),
    "embeddings.token_embedding.weight",
    "encoder.layers.{}.mlp.fc1.weight",
    "quick_gelu",
)
OPEN_CLIP = TextNames(  # the one of SD 2, the second of XL
    (SD2_TEXT, XL_TEXT), "token_embedding.weight", "transformer.resblocks.{}.mlp.c_fc.weight", "gelu"
)


def load_checkpoint(path: Path, dtype: torch.dtype, prompt: str = "") -> Any:
    """A whole model from one file.

    Parameters
    ----------
    path
        `.safetensors` file of SD 1.x, 2.x or XL, with U-Net, autoencoder and text encoders inside. A text file of the
        same name that ends in `.yaml` may say `parameterization: "v"` (or "eps"), as interfaces for such files have it.
    dtype
        What the weights are converted to.
    prompt
        Only to know whether words are needed: the empty prompt does without the tokenizer's vocabulary, any other
        takes it from a folder `tokenizer` beside the file, or from the hub.

    Returns
    -------
    A diffusers pipeline.

    Raises
    ------
    BadInput
        When the file is something else, is incomplete, or the vocabulary is missing.
    """
    shapes, metadata = _read_header(path)
    architecture = read_architecture(shapes, path, _prediction(path, shapes, metadata))
    kind = StableDiffusionXLPipeline if architecture.two_encoders else StableDiffusionPipeline
    with tempfile.TemporaryDirectory() as folder:
        _write_configs(architecture, Path(folder))
        words = _tokenizers(path, architecture, prompt, Path(folder))
        pipe: Any = kind.from_single_file(
            str(path), config=folder, local_files_only=True, torch_dtype=dtype, **words, **_no_checker(architecture)
        )
    for part in ("unet", "vae", "text_encoder", "text_encoder_2")[: 4 if architecture.two_encoders else 3]:
        _refuse_holes(getattr(pipe, part), part, path)
    return pipe


def load_vae(place: Path, dtype: torch.dtype, instead_of: Any) -> AutoencoderKL:
    """An alternative autoencoder: a diffusers folder, or one `.safetensors` file in either naming.

    Parameters
    ----------
    place
        Folder with config.json and weights (or one that has a folder `vae` with them), or a file. A file says nothing
        of its scaling factor; it gets that of the model.
    dtype
        What the weights are converted to.
    instead_of
        The model's own autoencoder; the other must make latents of the same shape.

    Raises
    ------
    BadInput
        When there is no autoencoder, or one that doesn't fit the model.
    """
    if place.is_dir():
        folder = place / "vae" if (place / "vae" / "config.json").is_file() else place
        if not (folder / "config.json").is_file():
            raise BadInput(
                f"'{place}' holds no autoencoder: give the folder in which config.json and its .safetensors weights "
                "lie, or one .safetensors file."
            )
        config = json.loads((folder / "config.json").read_text())
        if config.get("_class_name", "AutoencoderKL") != "AutoencoderKL":
            raise BadInput(
                f"'{place}' holds a {config['_class_name']}: give an AutoencoderKL, as Stable Diffusion has."
            )
        vae: Any = AutoencoderKL.from_pretrained(folder, torch_dtype=dtype, use_safetensors=True, local_files_only=True)
    else:
        vae = _vae_from_file(place, dtype, instead_of.config["scaling_factor"])
    wanted, got = ((c["latent_channels"], len(c["block_out_channels"])) for c in (instead_of.config, vae.config))
    if got != wanted:
        raise BadInput(
            f"The autoencoder '{place}' makes latents of {got[0]} channels at 1/{2 ** (got[1] - 1)} size and the model "
            f"takes {wanted[0]} at 1/{2 ** (wanted[1] - 1)}: choose one that was made for this kind of model."
        )
    return vae


def _vae_from_file(path: Path, dtype: torch.dtype, scaling_factor: float) -> Any:
    shapes, _ = _read_header(path)
    config = _vae(shapes, scaling_factor)
    if config is None:
        raise BadInput(f"'{path}' is not an autoencoder: {_what_it_is(shapes)}.")
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "config.json").write_text(json.dumps({"_class_name": "AutoencoderKL"} | config))
        vae = AutoencoderKL.from_single_file(str(path), config=folder, local_files_only=True, torch_dtype=dtype)
    _refuse_holes(vae, "autoencoder", path)
    return vae


def _read_header(path: Path) -> tuple[Shapes, dict[str, str]]:
    """Names and shapes of a file's tensors, and the words stored with them; the weights stay on disk."""
    if path.suffix.lower() in PICKLED:
        raise BadInput(
            f"'{path}' holds pickled weights, which can run any code and are never loaded: download the .safetensors "
            "file of the same model and give that."
        )
    try:
        with safe_open(path, framework="pt") as file:
            return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        small = path.stat().st_size < 1000 if path.is_file() else False
        hint = "it is so small that it may be a Git LFS pointer: " if small else ""
        raise BadInput(
            f"'{path}' is no .safetensors file, or its download was cut short ({hint}it has to begin with a list of "
            "its tensors): download it again."
        ) from error


def read_architecture(shapes: Shapes, path: Path, prediction: str | None = None) -> Architecture:
    """The architecture of a whole model, from the shapes of its tensors.

    What shapes don't tell is taken as the families have it: 8 attention heads where the transformers' projections are
    convolutions (SD 1), heads of 64 channels where they are linear (SD 2, XL), and velocity as what SD 2 predicts.
    """
    unet = _unet(shapes, path)
    texts = [t for t in (_text_encoder(shapes, names) for names in (CLIP, OPEN_CLIP)) if t]
    two = "projection_class_embeddings_input_dim" in unet
    vae = _vae(shapes, 0.13025 if two else 0.18215) if any(name.startswith(VAE) for name in shapes) else None
    if vae is None or len(texts) != 1 + two:
        raise BadInput(
            f"'{path}' has a U-Net, but not {'its autoencoder' if vae is None else 'the text encoders that it needs'}: "
            "take the whole checkpoint (for SD 1.5 about 2 or 4 GB, for XL 7 GB)."
        )
    if prediction is None:
        velocity = unet["use_linear_projection"] and not two
        prediction = "v_prediction" if velocity else "epsilon"
    return Architecture(path.stem, unet, vae, tuple(texts), scheduler_config(prediction))


def _below(shapes: Shapes, prefix: str) -> Shapes:
    return {name.removeprefix(prefix): shape for name, shape in shapes.items() if name.startswith(prefix)}


def _count(shapes: Shapes, pattern: str) -> int:
    """How many tensors pattern.format(0), pattern.format(1), … are there."""
    k = 0
    while pattern.format(k) in shapes:
        k += 1
    return k


def _unet(whole: Shapes, path: Path) -> Config:
    shapes = _below(whole, UNET)
    if "input_blocks.0.0.weight" not in shapes or "middle_block.1.proj_in.weight" not in shapes:
        raise BadInput(f"'{path}' is not a whole Stable Diffusion model: {_what_it_is(whole)}.")
    latents = shapes["input_blocks.0.0.weight"][1]
    if latents != shapes["out.2.weight"][0]:
        raise BadInput(
            f"'{path}' is made for inpainting or for editing by instructions (its U-Net takes {latents} channels): "
            "give the ordinary model that it was made from."
        )
    if "time_embed.cond_proj.weight" in shapes:
        raise BadInput(
            f"'{path}' is a distilled model in one file, which diffusers can't read: give its folder instead."
        )
    levels: list[list[tuple[int, int]]] = [[]]  # per level its ResNet blocks: width, and transformer layers behind it
    for i in range(1, 1000):
        if f"input_blocks.{i}.0.op.weight" in shapes:
            levels.append([])
        elif (block := f"input_blocks.{i}.0.out_layers.3.weight") in shapes:
            depth = _count(shapes, f"input_blocks.{i}.1.transformer_blocks.{{}}.norm1.weight")
            levels[-1].append((shapes[block][0], depth))
        else:
            break
    if len({len(level) for level in levels}) != 1 or any(len(set(level)) != 1 for level in levels):
        raise BadInput(f"'{path}' has an unusual (perhaps a thinned out) U-Net: give its diffusers folder instead.")
    channels, depths = zip(*(level[0] for level in levels), strict=True)
    linear = len(shapes["middle_block.1.proj_in.weight"]) == 2
    config = unet_config(
        channels,
        depths,
        tuple(max(1, c // 64) for c in channels) if linear else 8,
        shapes["middle_block.1.transformer_blocks.0.attn2.to_k.weight"][1],
        layers=len(levels[0]),
        linear=linear,
        middle=_count(shapes, "middle_block.1.transformer_blocks.{}.norm1.weight"),
        latents=latents,
    )
    if "label_emb.0.0.weight" in shapes:
        pooled = whole.get(f"{XL_TEXT}text_projection", (0, 1280))[1]
        config |= xl_extras(pooled, (shapes["label_emb.0.0.weight"][1] - pooled) // 6)
    return config


def _text_encoder(shapes: Shapes, names: TextNames) -> Config | None:
    """The configuration of a text encoder with such names, where there is one."""
    for prefix in names.prefixes:
        words = shapes.get(f"{prefix}{names.words}")
        if words:
            layers = _count(shapes, f"{prefix}{names.layer}")
            if prefix == SD2_TEXT and layers == UNREAD_LAYER:
                layers -= 1
            inner = shapes[f"{prefix}{names.layer.format(0)}"][0]
            projection = shapes.get(f"{prefix}text_projection", words)[1]
            return text_config(words[1], layers, max(1, words[1] // 64), names.activation, projection, words[0], inner)
    return None


def _vae(shapes: Shapes, scaling_factor: float) -> Config | None:
    """An autoencoder's configuration, whether it stands alone or in a model, in the original naming or diffusers'."""
    inside = _below(shapes, VAE) or shapes
    for width, more in (
        ("encoder.down.{}.block.0.conv1.weight", "encoder.down.0.block.{}.conv1.weight"),
        ("encoder.down_blocks.{}.resnets.0.conv1.weight", "encoder.down_blocks.0.resnets.{}.conv1.weight"),
    ):
        levels = _count(inside, width)
        if levels and "post_quant_conv.weight" in inside:
            channels = tuple(inside[width.format(k)][0] for k in range(levels))
            latents = inside["post_quant_conv.weight"][0]
            return vae_config(channels, _count(inside, more), latents, scaling_factor, 512)
    return None


def _what_it_is(shapes: Shapes) -> str:
    """A clause about a file that isn't what was wanted, for our sentences."""
    names = list(shapes)
    for what, signs in (
        ("it is a LoRA adapter, which changes a model and isn't one", ("lora",)),
        ("it is a ControlNet, which steers a model and isn't one", ("control_model.", "controlnet")),
        ("it is XL's refiner, so give the base model", ("conditioner.embedders.0.model.",)),
        (
            "it is a model of another kind (SD 3 or FLUX), so give SD 1.x, 2.x or XL",
            ("joint_blocks.", "double_blocks."),
        ),
        ("it is a whole model, so give it as the backbone", (UNET,)),
        ("it is a text encoder", ("text_model.encoder.", "transformer.resblocks.")),
        ("it is an autoencoder, so give it as vae (--vae)", ("encoder.down", "decoder.up")),
        ("it is one part of a diffusers folder, so give the folder that holds unet/ and vae/", ("down_blocks.",)),
    ):
        if any(sign in name for name in names for sign in signs):
            return what
    return "none of its tensors is known"


def _prediction(path: Path, shapes: Shapes, metadata: dict[str, str]) -> str | None:
    """What a model predicts, where anything says so: a .yaml beside it, a marker among its tensors, its metadata."""
    recipe = path.with_suffix(".yaml")
    if recipe.is_file():
        text = recipe.read_text(errors="replace").replace('"', "").replace("'", "")
        return "v_prediction" if "parameterization: v" in text else "epsilon"
    if "v_pred" in shapes:
        return "v_prediction"
    said = metadata.get("modelspec.prediction_type", "").lower()
    return {"v": "v_prediction", "epsilon": "epsilon"}.get(said)


def _write_configs(architecture: Architecture, folder: Path) -> None:
    """The folder of configurations that diffusers reads: as a pipeline's own, without any weights."""
    parts: dict[str, Any] = {
        "unet": ("diffusers", "UNet2DConditionModel", architecture.unet),
        "vae": ("diffusers", "AutoencoderKL", architecture.vae),
        "scheduler": ("diffusers", "DDIMScheduler", architecture.scheduler),
    }
    index: dict[str, Any] = {name: list(part[:2]) for name, part in parts.items()}
    for name, (_, kind, config) in parts.items():
        (folder / name).mkdir()
        file = "scheduler_config.json" if name == "scheduler" else "config.json"
        (folder / name / file).write_text(json.dumps({"_class_name": kind} | config))
    for k, config in enumerate(architecture.text):
        number = "" if k == 0 else "_2"
        CLIPTextConfig(**config).save_pretrained(folder / f"text_encoder{number}")
        index[f"text_encoder{number}"] = ["transformers", "CLIPTextModelWithProjection" if k else "CLIPTextModel"]
        index[f"tokenizer{number}"] = ["transformers", "CLIPTokenizer"]
    kind = "StableDiffusionXLPipeline" if architecture.two_encoders else "StableDiffusionPipeline"
    index |= {"_class_name": kind, "feature_extractor": [None, None], "image_encoder": [None, None]}
    if not architecture.two_encoders:
        index |= {"safety_checker": [None, None], "requires_safety_checker": False}
    (folder / "model_index.json").write_text(json.dumps(index))


def _no_checker(architecture: Architecture) -> dict[str, Any]:
    return {} if architecture.two_encoders else {"safety_checker": None}


def _tokenizers(path: Path, architecture: Architecture, prompt: str, spare: Path) -> dict[str, CLIPTokenizer]:
    """One tokenizer per text encoder. OpenCLIP's pad with "!", which is word 0; OpenAI's with the end of text."""
    found: dict[str, CLIPTokenizer] = {}
    for k, config in enumerate(architecture.text):
        pad = "!" if config["hidden_act"] == "gelu" else "<|endoftext|>"
        words = _vocabulary(path, pad) if prompt.strip() else wordless_tokenizer(config["vocab_size"], pad, spare)
        found[f"tokenizer{'_2' if k else ''}"] = words
    return found


def wordless_tokenizer(words: int, pad: str, spare: Path) -> CLIPTokenizer:
    """A tokenizer that can say nothing, which the empty prompt doesn't need: begin, end, and padding."""
    vocabulary = {"!": 0, "<|startoftext|>": words - 2, "<|endoftext|>": words - 1}
    (spare / "vocab.json").write_text(json.dumps(vocabulary))
    (spare / "merges.txt").write_text("#version: 0.2\n")
    return CLIPTokenizer(str(spare / "vocab.json"), str(spare / "merges.txt"), model_max_length=77, pad_token=pad)


def _vocabulary(path: Path, pad: str) -> CLIPTokenizer:
    beside = path.parent / "tokenizer"
    missing = BadInput(
        f"A prompt needs CLIP's vocabulary, which a single file doesn't hold: put vocab.json and merges.txt of "
        f"'{VOCABULARY}' into the folder '{beside}', or leave the prompt out."
    )
    place, local = (beside, True) if beside.is_dir() else (VOCABULARY, False)
    try:
        words = CLIPTokenizer.from_pretrained(place, pad_token=pad, local_files_only=local, model_max_length=77)
    except (OSError, ValueError) as error:
        raise missing from error
    if "a</w>" not in words.get_vocab():  # transformers makes an empty one where it finds no files
        raise missing
    return words


def _refuse_holes(part: nn.Module, name: str, path: Path) -> None:
    """Weights that were not in the file are still on torch's meta device, where they hold no numbers."""
    holes = [n for n, p in part.named_parameters() if p.is_meta]
    if holes:
        raise BadInput(
            f"'{path}' lacks {len(holes)} of the {name}'s tensors ({holes[0]} is one): take the whole checkpoint, or "
            "its diffusers folder."
        )
