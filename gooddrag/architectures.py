"""What the families of Stable Diffusion are built of, as numbers: enough to plan memory or build one without weights.

Read off the models' own configuration files; nothing here is learned. Weights are loaded in `backbone.py`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

Config = dict[str, Any]


@dataclass(frozen=True)
class Architecture:
    """One family: configurations of its parts, as diffusers and transformers take them."""

    name: str
    unet: Config
    vae: Config
    text: tuple[Config, ...]  # one text encoder, or two: the second of them then projects its pooled output
    scheduler: Config = field(default_factory=dict)

    @property
    def two_encoders(self) -> bool:
        """Whether this is an XL model."""
        return len(self.text) > 1

    def build_unet(self) -> UNet2DConditionModel:
        """The U-Net with random weights, on the device in force (`with torch.device("meta")` costs no memory)."""
        return UNet2DConditionModel.from_config(self.unet)  # type: ignore[return-value]

    def build_vae(self) -> AutoencoderKL:
        """The autoencoder with random weights."""
        return AutoencoderKL.from_config(self.vae)  # type: ignore[return-value]

    def build_text_encoders(self) -> list[nn.Module]:
        """The text encoders with random weights."""
        kinds = (CLIPTextModel, CLIPTextModelWithProjection)
        return [kind(CLIPTextConfig(**config)) for kind, config in zip(kinds, self.text, strict=False)]


def vae_config(channels: tuple[int, ...], layers: int, latents: int, scaling_factor: float, side: int) -> Config:
    """AutoencoderKL's configuration: widths of levels, blocks in each, latent channels, factor, picture side (px)."""
    return {
        "block_out_channels": list(channels),
        "layers_per_block": layers,
        "latent_channels": latents,
        "scaling_factor": scaling_factor,
        "sample_size": side,
        "down_block_types": ["DownEncoderBlock2D"] * len(channels),
        "up_block_types": ["UpDecoderBlock2D"] * len(channels),
    }


def text_config(
    width: int, layers: int, heads: int, activation: str, projection: int, words: int = 49408, inner: int | None = None
) -> Config:
    """CLIP's text encoder; `words` is the size of its vocabulary, `inner` the width of its MLPs (default 4 · width)."""
    return {
        "vocab_size": words,
        "hidden_size": width,
        "intermediate_size": inner or 4 * width,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "hidden_act": activation,
        "projection_dim": projection,
        "max_position_embeddings": 77,
        "bos_token_id": words - 2,
        "eos_token_id": words - 1,
        "pad_token_id": 1,
    }


def unet_config(
    channels: tuple[int, ...],
    depths: tuple[int, ...],
    heads: int | tuple[int, ...],
    context: int,
    *,
    layers: int = 2,
    linear: bool = False,
    middle: int | None = None,
    latents: int = 4,
    side: int = 64,
) -> Config:
    """UNet2DConditionModel's configuration.

    Parameters
    ----------
    channels, depths
        Per level, finest first: width, and transformer layers in each of its attention blocks (0: none).
    heads
        Attention heads, the same for all levels or one number for each.
    context
        Width of the text embedding.
    layers, latents, side
        ResNet blocks in a level, latent channels, and the latent's usual side in cells.
    linear
        Whether the projections around the transformers are linear layers (SD 2, XL), or 1×1 convolutions (SD 1).
    middle
        Transformer layers of the block in the middle; as in the coarsest level where nothing is said.
    """
    down = ["CrossAttnDownBlock2D" if depth else "DownBlock2D" for depth in depths]
    deepest = middle or depths[-1] or 1
    return {
        "sample_size": side,
        "in_channels": latents,
        "out_channels": latents,
        "block_out_channels": list(channels),
        "layers_per_block": layers,
        "down_block_types": down,
        "up_block_types": [kind.replace("Down", "Up") for kind in reversed(down)],
        "transformer_layers_per_block": [*(depth or 1 for depth in depths[:-1]), depths[-1] or deepest],
        "attention_head_dim": heads if isinstance(heads, int) else list(heads),  # diffusers' name for their number
        "cross_attention_dim": context,
        "use_linear_projection": linear,
    }


def xl_extras(pooled: int, entries: int = 256) -> Config:
    """What an XL U-Net takes besides: the pooled text embedding, and six sizes as `entries` sines each."""
    return {
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": entries,
        "projection_class_embeddings_input_dim": pooled + 6 * entries,
    }


def scheduler_config(prediction: str) -> Config:
    """The noise schedule that all of them share; `prediction` is "epsilon" or "v_prediction"."""
    return {
        "beta_schedule": "scaled_linear",
        "beta_start": 0.00085,
        "beta_end": 0.012,
        "clip_sample": False,
        "set_alpha_to_one": False,
        "steps_offset": 1,
        "prediction_type": prediction,
    }


VAE_LEVELS = (128, 256, 512, 512)
ARCHITECTURES = {
    "sd15": Architecture(
        "sd15",
        unet_config((320, 640, 1280, 1280), (1, 1, 1, 0), 8, 768),
        vae_config(VAE_LEVELS, 2, 4, 0.18215, 512),
        (text_config(768, 12, 12, "quick_gelu", 768),),
        scheduler_config("epsilon"),
    ),
    "sd21": Architecture(
        "sd21",
        unet_config((320, 640, 1280, 1280), (1, 1, 1, 0), (5, 10, 20, 20), 1024, linear=True, side=96),
        vae_config(VAE_LEVELS, 2, 4, 0.18215, 768),
        (text_config(1024, 23, 16, "gelu", 512),),
        scheduler_config("v_prediction"),
    ),
    "sdxl": Architecture(
        "sdxl",
        unet_config((320, 640, 1280), (0, 2, 10), (5, 10, 20), 2048, linear=True, side=128) | xl_extras(1280),
        vae_config(VAE_LEVELS, 2, 4, 0.13025, 1024),
        (text_config(768, 12, 12, "quick_gelu", 768), text_config(1280, 32, 20, "gelu", 1280)),
        scheduler_config("epsilon"),
    ),
}
