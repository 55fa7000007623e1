"""Tiny random models of each family, and their tensors under the names that single-file checkpoints have."""

import tempfile
from pathlib import Path

import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline, StableDiffusionXLPipeline

from gooddrag.architectures import Architecture, scheduler_config, text_config, unet_config, vae_config, xl_extras
from gooddrag.checkpoint import wordless_tokenizer

WORDS = 200
VAE = vae_config((32, 32, 32, 32), 1, 4, 0.18215, 512)
XL_VAE = VAE | {"scaling_factor": 0.13025}
CLIP = text_config(64, 2, 1, "quick_gelu", 64, WORDS, 128)
OPEN_CLIP = text_config(128, 2, 2, "gelu", 128, WORDS, 256)
TINY = {
    "sd15": Architecture(
        "sd15", unet_config((32, 32, 64, 64), (1, 1, 1, 0), 8, 64), VAE, (CLIP,), scheduler_config("epsilon")
    ),
    "sd21": Architecture(
        "sd21",
        unet_config((64, 64, 128, 128), (1, 1, 1, 0), (1, 1, 2, 2), 128, linear=True),
        VAE,
        (OPEN_CLIP,),
        scheduler_config("v_prediction"),
    ),
    "sdxl": Architecture(
        "sdxl",
        unet_config((64, 64, 128), (0, 1, 2), (1, 1, 2), 192, linear=True) | xl_extras(128, 8),
        XL_VAE,
        (CLIP, OPEN_CLIP),
        scheduler_config("epsilon"),
    ),
}
RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
OUTER = {
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
    "conv_in": "input_blocks.0.0",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}
VAE_PARTS = {
    "mid_block.attentions.0.group_norm": "mid.attn_1.norm",
    "mid_block.attentions.0.to_q": "mid.attn_1.q",
    "mid_block.attentions.0.to_k": "mid.attn_1.k",
    "mid_block.attentions.0.to_v": "mid.attn_1.v",
    "mid_block.attentions.0.to_out.0": "mid.attn_1.proj_out",
    "mid_block.resnets.0": "mid.block_1",
    "mid_block.resnets.1": "mid.block_2",
    "conv_norm_out": "norm_out",
    "conv_shortcut": "nin_shortcut",
    "downsamplers.0.conv": "downsample.conv",
    "upsamplers.0.conv": "upsample.conv",
    "down_blocks": "down",
    "up_blocks": "up",
    "resnets": "block",
}


def make_pipeline(family):
    """A pipeline with random weights that knows the empty prompt only."""
    torch.manual_seed(0)
    tiny = TINY[family]
    with tempfile.TemporaryDirectory() as folder:
        pads = ["!" if config["hidden_act"] == "gelu" else "<|endoftext|>" for config in tiny.text]
        words = [wordless_tokenizer(WORDS, pad, Path(folder)) for pad in pads]
    parts = {"unet": tiny.build_unet(), "vae": tiny.build_vae(), "scheduler": DDIMScheduler(**tiny.scheduler)}
    texts = tiny.build_text_encoders()
    if tiny.two_encoders:
        return StableDiffusionXLPipeline(
            **parts, text_encoder=texts[0], text_encoder_2=texts[1], tokenizer=words[0], tokenizer_2=words[1]
        )
    return StableDiffusionPipeline(
        **parts, text_encoder=texts[0], tokenizer=words[0], safety_checker=None, feature_extractor=None,
        requires_safety_checker=False,
    )  # fmt: skip


def original(pipe):
    """All tensors of a pipeline, under the names of a single-file checkpoint."""
    names = [_unet(name, 2) for name in pipe.unet.state_dict()]
    tensors = dict(
        zip(map(_place_upsampler, names, [names] * len(names)), pipe.unet.state_dict().values(), strict=True)
    )
    tensors = {f"model.diffusion_model.{n}": v for n, v in tensors.items()}
    tensors |= {f"first_stage_model.{n}": v for n, v in original_vae(pipe.vae).items()}
    second = getattr(pipe, "text_encoder_2", None)
    if second is not None:
        tensors |= _clip(pipe.text_encoder, "conditioner.embedders.0.transformer.text_model.")
        tensors |= _open_clip(second, "conditioner.embedders.1.model.")
    elif pipe.text_encoder.config.hidden_act == "gelu":
        tensors |= _open_clip(pipe.text_encoder, "cond_stage_model.model.")
    else:
        tensors |= _clip(pipe.text_encoder, "cond_stage_model.transformer.text_model.")
    return {name: value.clone().contiguous() for name, value in tensors.items()}


def _unet(name, layers):
    for ours, theirs in OUTER.items():
        if name.startswith(f"{ours}."):
            return name.replace(ours, theirs, 1)
    where, *rest = name.split(".")
    if where == "mid_block":
        kind, k, inner = rest[0], int(rest[1]), ".".join(rest[2:])
        return f"middle_block.{1 if kind == 'attentions' else 2 * k}.{_inner(kind, inner)}"
    block, kind, k, inner = int(rest[0]), rest[1], int(rest[2]), ".".join(rest[3:])
    first = block * (layers + 1)
    if kind == "downsamplers":
        return f"input_blocks.{first + layers + 1}.0.op.{rest[-1]}"
    if kind == "upsamplers":
        return f"output_blocks.{first + layers}.UP.conv.{rest[-1]}"  # behind the attention, where there is one
    place = f"input_blocks.{1 + first + k}" if where == "down_blocks" else f"output_blocks.{first + k}"
    return f"{place}.{0 if kind == 'resnets' else 1}.{_inner(kind, inner)}"


def _place_upsampler(name, names):
    attends = any(other.startswith(name.partition("UP")[0] + "1.") for other in names)
    return name.replace("UP", "2" if attends else "1")


def _inner(kind, name):
    head, _, tail = name.partition(".")
    return f"{RESNET[head]}.{tail}" if kind == "resnets" else name


def original_vae(vae):
    """An autoencoder's tensors, under the names of a file that holds it alone."""
    last, found = len(vae.config.block_out_channels) - 1, {}
    for name, value in vae.state_dict().items():
        theirs = name
        for ours, word in VAE_PARTS.items():
            theirs = theirs.replace(ours, word)
        if theirs.startswith("decoder.up."):
            _, _, k, *rest = theirs.split(".")
            theirs = ".".join(["decoder.up", str(last - int(k)), *rest])
        linear = "mid.attn_1" in theirs and value.ndim == 2
        found[theirs] = value[..., None, None] if linear else value
    return found


def _plain(encoder):
    return {name.removeprefix("text_model."): value for name, value in encoder.state_dict().items()}


def _clip(encoder, prefix):
    return {prefix + name: value for name, value in _plain(encoder).items()}


def _open_clip(encoder, prefix):
    tensors = _plain(encoder)
    found = {
        "token_embedding.weight": tensors["embeddings.token_embedding.weight"],
        "positional_embedding": tensors["embeddings.position_embedding.weight"],
        "ln_final.weight": tensors["final_layer_norm.weight"],
        "ln_final.bias": tensors["final_layer_norm.bias"],
        "text_projection": tensors.get("text_projection.weight", torch.eye(encoder.config.hidden_size)).T,
    }
    for k in range(encoder.config.num_hidden_layers):
        ours, theirs = f"encoder.layers.{k}.", f"transformer.resblocks.{k}."
        for a, b in (
            ("layer_norm1", "ln_1"),
            ("layer_norm2", "ln_2"),
            ("mlp.fc1", "mlp.c_fc"),
            ("mlp.fc2", "mlp.c_proj"),
            ("self_attn.out_proj", "attn.out_proj"),
        ):
            for end in ("weight", "bias"):
                found[f"{theirs}{b}.{end}"] = tensors[f"{ours}{a}.{end}"]
        for end in ("weight", "bias"):
            three = [tensors[f"{ours}self_attn.{x}_proj.{end}"] for x in "qkv"]
            found[f"{theirs}attn.in_proj_{end}"] = torch.cat(three)
    return {prefix + name: value for name, value in found.items()}
