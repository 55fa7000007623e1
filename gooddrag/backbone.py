"""What an engine must offer: encode, decode, predict noise with features. Pocket and Stable Diffusion share one class.

`load_backbone` makes one from this repository's weights ("pocket"), an alias, a hub id, a local diffusers folder or a
single `.safetensors` file. What such files are made of is read in `checkpoint.py`, where weights come from in `hub.py`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol, get_args

import torch
from diffusers import AutoencoderKL, DDIMScheduler, DiffusionPipeline, UNet2DConditionModel
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor, nn

from gooddrag.adapter import Weights, applied
from gooddrag.attention import mutual, recorded, self_attention_layers
from gooddrag.errors import BadInput
from gooddrag.hub import ALIASES, check_folder, is_local, told_in_one_sentence
from gooddrag.pocket import WEIGHTS as POCKET_WEIGHTS
from gooddrag.pocket.codec import PatchCodec

Memory = Literal["normal", "low"]
TILE = {"normal": 1536, "low": 512}  # px: larger pictures pass the autoencoder in overlapping tiles of this side


class Codec(Protocol):
    """Image (B, 3, H, W) in [-1, 1] ↔ latent (B, C, h, w), both float32; `tensors()` are all that results depend on."""

    def encode(self, image: Tensor) -> Tensor: ...

    def decode(self, z: Tensor) -> Tensor: ...

    def tensors(self) -> dict[str, Tensor]: ...


@dataclass(frozen=True)
class VaeCodec:
    """Stable Diffusion's autoencoder: the mean of its posterior, times its scaling factor.

    With `parked`, it lies in main memory and comes to the image's or latent's device only while it works. Pictures
    with a side over `tile` px pass in overlapping tiles, blended at their seams: that bounds the memory they take, and
    changes the picture a little, as each tile is normalised by itself.
    """

    vae: AutoencoderKL
    parked: bool = False
    tile: int = TILE["normal"]

    def __post_init__(self) -> None:
        self.vae.enable_tiling()
        self.vae.tile_sample_min_size = self.tile
        self.vae.tile_latent_min_size = self.tile // 2 ** (len(self.vae.config["block_out_channels"]) - 1)

    @torch.no_grad()
    def encode(self, image: Tensor) -> Tensor:
        with self._at_work(image.device):
            mean = self.vae.encode(image.to(self.vae.dtype)).latent_dist.mean  # type: ignore[union-attr]
            return mean.float() * self.vae.config["scaling_factor"]

    @torch.no_grad()
    def decode(self, z: Tensor) -> Tensor:
        with self._at_work(z.device):
            out: Any = self.vae.decode((z / self.vae.config["scaling_factor"]).to(self.vae.dtype))
            return out.sample.float()

    def tensors(self) -> dict[str, Tensor]:
        return self.vae.state_dict()

    @contextmanager
    def _at_work(self, device: torch.device) -> Iterator[None]:
        try:
            if self.parked:
                self.vae.to(device)  # type: ignore[arg-type]
            yield
        finally:
            if self.parked:
                self.vae.to("cpu")  # type: ignore[arg-type]


@dataclass(frozen=True)
class Look:
    """What one pass of the U-Net tells: noise prediction (B, C, h, w) and, on request, features (B, C', h', w')."""

    eps: Tensor
    features: Tensor | None = None


@dataclass(frozen=True, eq=False)
class Backbone:
    """A latent diffusion model, ready for dragging. Its weights are frozen; latents are float32 whatever its dtype.

    With `memory` "low" it computes the same, up to rounding, in less memory and more time: activations are computed a
    second time for gradients instead of being kept, and what an edit borrows from the source is kept for one timestep.
    """

    keeps_paths: ClassVar[bool] = True  # whether its inverted pictures may be cached, being the same at any time

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
    wordless: tuple[Tensor, dict[str, Tensor]] | None = None  # context and `added` of no prompt, where there is one
    knows: str = "pictures of all kinds"  # for the warning about strange pictures
    memory: Memory = "normal"

    def __post_init__(self) -> None:
        self.unet.requires_grad_(False).eval()
        if self.memory == "low":
            self.unet.enable_gradient_checkpointing()
            if self.device.type not in ("cpu", "cuda"):
                attend_in_slices(self.unet)

    @property
    def device(self) -> torch.device:
        return self.unet.device

    @property
    def feature_block(self) -> nn.Module:
        """The decoder block whose output first has the latent's full size, the last but one.

        That is `up_blocks[2]` of SD 1.5 and 2.1 (section 4.1 of the paper). XL has one level less, so there it is
        `up_blocks[1]`: of the same width, 640 channels, and like the other it closes the last level that attends to
        the text. XL's last block has no attention at all, and its features are nearer to pixels than to parts.
        """
        return self.unet.up_blocks[len(self.unet.up_blocks) - 2]

    @cached_property
    def late_self_attention(self) -> list[nn.Module]:
        """Self-attention layers that mutual self-attention acts on: those of the last two up blocks.

        Of SD 1.5 these are the last 6 of 16, at half and full latent size. XL's last up block has none, so there they
        are the last 6 of 70, all at half size, the finest that XL has. The layers before them work at a quarter of the
        size and decide on layout: keys and values of the source would hold the very shape that a drag is to change.
        """
        return self_attention_layers(list(self.unet.up_blocks)[-2:])

    @cached_property
    def fingerprint(self) -> str:
        """Hash of all weights that an edit depends on; keys every cache."""
        digest = hashlib.blake2b(digest_size=16)
        parts = [*self.unet.state_dict().items(), ("context", self.context), *sorted(self.added.items())]
        for name, value in [*parts, *self.codec.tensors().items()]:
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

    def adapted(self, weights: Weights) -> AbstractContextManager[None]:
        """The model with an identity adapter while the block runs."""
        return applied(self.unet, weights)

    def borrowing(self, source: Sequence[Tensor]) -> AbstractContextManager[None]:
        """Mutual self-attention while the block runs: the late layers take keys and values from the `source` inputs."""
        return mutual(self.late_self_attention, source)

    def recording(self) -> AbstractContextManager[list[Tensor]]:
        """Collect what the late self-attention layers see while the block runs, for `borrowing`."""
        return recorded(self.late_self_attention)

    @cached_property
    def unprompted(self) -> Backbone:
        """The same model without its prompt, to guide by what the prompt changes."""
        if self.wordless is None:
            return self
        context, added = self.wordless
        return replace(self, context=context, added=added, wordless=None)

    def features(self, z: Tensor, t: int | Tensor) -> Tensor:
        """Features alone (B, C', h', w'), the same as `predict` gives: the pass ends behind `feature_block`."""
        hook = self.feature_block.register_forward_hook(_leave)
        try:
            self.raw_predict(z, t)
        except _Left as left:
            return left.features.to(z.dtype)
        finally:
            hook.remove()
        raise AssertionError("the U-Net has passed by its feature block")

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
        if wanted := self.unet.config["time_cond_proj_dim"]:
            extra["timestep_cond"] = no_guidance(wanted).to(z.device, self.unet.dtype).expand(len(z), -1)
        if self.added:
            height, width = (s * self.latent_scale for s in z.shape[2:])
            ids = torch.tensor([[height, width, 0, 0, height, width]], device=z.device, dtype=self.unet.dtype)
            pooled = self.added["text_embeds"].expand(len(z), -1)
            extra["added_cond_kwargs"] = {"text_embeds": pooled, "time_ids": ids.expand(len(z), -1)}
        context = self.context.expand(len(z), -1, -1)
        return self.unet(z.to(self.unet.dtype), t, encoder_hidden_states=context, **extra).sample.to(z.dtype)


class _Left(Exception):
    """Ends a pass of the U-Net early, and carries what it was made for."""

    def __init__(self, features: Tensor):
        self.features = features


def _leave(_: nn.Module, __: Any, features: Tensor) -> None:
    raise _Left(features)


def no_guidance(width: int) -> Tensor:
    """What a distilled (LCM) U-Net wants to be told of guidance: (1, width), the embedding of w = scale − 1 = 0.

    Such a model has learned to answer as another one does under classifier-free guidance; w = 0 asks for the plain
    answer. Of 0 all sines are 0 and all cosines 1.
    """
    half = width // 2
    return torch.cat([torch.zeros(half), torch.ones(half), torch.zeros(width - 2 * half)])[None]


def attend_in_slices(unet: UNet2DConditionModel) -> None:
    """Let attention work on one head at a time: for devices without a fused kernel that never holds whole matrices."""
    unet.set_attention_slice("max")


def load_backbone(
    name: str | Path = "pocket",
    prompt: str = "",
    device: str | None = None,
    dtype: torch.dtype | None = None,
    *,
    vae: str | Path | None = None,
    memory: Memory = "normal",
) -> Backbone:
    """Load an engine.

    Parameters
    ----------
    name
        "pocket"; an alias ("sd15", "sd21", "sdxl"); a hub id; a folder that diffusers saved; or a single
        `.safetensors` file of SD 1.x, 2.x or XL. Distilled (LCM) folders work too.
    prompt
        Text that describes the picture, or with `guidance` what it is to become; empty is what the paper uses. Pocket
        ignores it: its network was trained with one constant in place of all texts.
    device
        Default: CUDA, else Apple's GPU, else CPU.
    dtype
        The network's; default bfloat16 on CUDA for Stable Diffusion, and with memory "low" on Apple's GPU where it can,
        else float32.
    vae
        Another autoencoder: a folder or a `.safetensors` file. Default: the model's own.
    memory
        "normal", or "low": the same results up to rounding (up to 512×512 px), in less memory and more time. Gradients
        compute activations again, identity training takes its pictures one by one, the source's features are kept for
        one timestep, the autoencoder lies in main memory while it isn't used and works in tiles of 512 px.

    Raises
    ------
    BadInput
        When there are no such weights (the message says what to download and where to put it), they are pickled, of
        another kind or incomplete, or when there is no such device.
    """
    if memory not in get_args(Memory):
        raise BadInput(f"The memory can't be '{memory}': choose normal or low.")
    if device:
        check_device(device)
    device = device or ("cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu")
    if str(name) == "pocket":
        if vae is not None:
            raise BadInput("Pocket has a codec of its own and takes no other autoencoder: leave vae out.")
        return load_pocket(POCKET_WEIGHTS, device, memory)
    dtype = dtype or _usual_dtype(device, memory)
    pipe = _load_pipeline(str(name), dtype, prompt)
    if vae is not None:
        advice = "check that it is an AutoencoderKL with .safetensors weights"
        with told_in_one_sentence(f"The autoencoder '{vae}' could not be loaded", advice):
            from gooddrag.checkpoint import load_vae  # with transformers, which takes seconds and isn't for pocket

            pipe.vae = load_vae(Path(vae).expanduser(), dtype, pipe.vae)
    return from_pipeline(pipe, str(name), prompt, device, memory)


def _usual_dtype(device: str, memory: Memory) -> torch.dtype:
    """Half precision where the device has it: bfloat16, as it has float32's range."""
    half = device.startswith("cuda") or (
        device.startswith("mps") and memory == "low" and _multiplies(torch.bfloat16, device)
    )
    return torch.bfloat16 if half else torch.float32


def _multiplies(dtype: torch.dtype, device: str) -> bool:
    try:
        one = torch.ones(2, 2, dtype=dtype, device=device)
        return float((one @ one)[0, 0]) == 2
    except (RuntimeError, TypeError):
        return False


def check_device(device: str) -> None:
    """Raise BadInput where this machine has no such device."""
    try:
        float(torch.zeros(1, device=device))  # 'meta' makes tensors too, but none that holds numbers
    except (RuntimeError, AssertionError, ImportError) as error:
        raise BadInput(
            f"The device '{device}' can't be used on this machine: choose cpu, or leave it out for the best there is."
        ) from error


def load_pocket(folder: Path = POCKET_WEIGHTS, device: str = "cpu", memory: Memory = "normal") -> Backbone:
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
    with told_in_one_sentence(f"The pocket weights in '{folder}' are damaged", restore):
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
            memory=memory,
        )


def _load_pipeline(name: str, dtype: torch.dtype, prompt: str) -> Any:
    """The parts of a Stable Diffusion model, in a pipeline that is never run."""
    local, what = is_local(name), f"The backbone '{name}' could not be loaded"
    if local and Path(name).expanduser().suffix and not Path(name).expanduser().is_dir():
        return _load_file(name, dtype, prompt)
    folder = check_folder(name) if local else Path(name)
    source = str(folder) if local else ALIASES.get(name, name)
    advice = (
        "check that each part holds .safetensors weights (pickled .bin weights are never loaded)"
        if local
        else f"download '{source}' with its safetensors weights on a machine with internet access and give that "
        "folder instead, or use 'pocket'"
    )
    with told_in_one_sentence(what, advice, None if local else source):
        return DiffusionPipeline.from_pretrained(
            source,
            torch_dtype=dtype,
            use_safetensors=True,
            local_files_only=local,
            **({"variant": "fp16"} if local and _only_half(folder) else {}),
            **({} if _is_xl(folder) else {"safety_checker": None}),
        )


def _load_file(name: str, dtype: torch.dtype, prompt: str) -> Any:
    path = Path(name).expanduser()
    if not path.exists():
        raise BadInput(
            f"There is no file '{name}': give a .safetensors checkpoint, or 'pocket' for the built-in engine."
        )
    advice = "give the whole checkpoint of SD 1.x, 2.x or XL as a .safetensors file, or its diffusers folder"
    with told_in_one_sentence(f"The checkpoint '{name}' could not be loaded", advice):
        from gooddrag.checkpoint import load_checkpoint

        return load_checkpoint(path, dtype, prompt)


def _only_half(folder: Path) -> bool:
    """Whether the U-Net's weights are there in half precision alone, under the name that those have."""
    files = list((folder / "unet").glob("*.safetensors"))
    return bool(files) and all(".fp16." in file.name for file in files)


def _is_xl(folder: Path) -> bool:
    return (folder / "text_encoder_2").exists()


def from_pipeline(pipe: Any, name: str, prompt: str = "", device: str = "cpu", memory: Memory = "normal") -> Backbone:
    """An engine from a diffusers pipeline that is there already; arguments as for `load_backbone`.

    The pipeline's text encoders are used once and not kept.

    Raises
    ------
    BadInput
        When the pipeline is no Stable Diffusion.
    """
    if not isinstance(getattr(pipe, "unet", None), UNet2DConditionModel) or not hasattr(pipe, "vae"):
        raise BadInput(
            f"'{name}' holds a {type(pipe).__name__}, which has no Stable Diffusion U-Net: give a Stable Diffusion "
            "1.x, 2.x or XL model."
        )
    low = memory == "low"
    reader = "cpu" if low else device  # the text encoders work once, so that they needn't come to the device
    if not low:
        pipe.to(device)
    scheduler: Any = DDIMScheduler.from_config(pipe.scheduler.config)
    (context, added), *wordless = (
        _on(device, _embed_prompt(pipe, text, reader)) for text in dict.fromkeys([prompt, ""])
    )
    if pipe.vae.dtype == torch.float16:
        pipe.vae.float()  # whose activations can pass float16's largest number
    vae_scale = 2 ** (len(pipe.vae.config["block_out_channels"]) - 1)
    return Backbone(
        name=name,
        unet=pipe.unet.to(device=device, memory_format=torch.channels_last),
        codec=VaeCodec(pipe.vae.requires_grad_(False).eval(), parked=low and device != "cpu", tile=TILE[memory]),
        context=context,
        alphas=tuple(scheduler.alphas_cumprod.double().tolist()),
        prediction=scheduler.config["prediction_type"],
        latent_scale=vae_scale,
        image_multiple=vae_scale,
        added=added,
        wordless=wordless[0] if wordless else None,
        memory=memory,
    )


@torch.no_grad()
def _embed_prompt(pipe: Any, prompt: str, device: str) -> tuple[Tensor, dict[str, Tensor]]:
    """Text → context (1, 77, D); XL also has a pooled embedding (1, D'). The text encoder isn't kept."""
    out: Sequence[Tensor] = pipe.encode_prompt(
        prompt, device=device, num_images_per_prompt=1, do_classifier_free_guidance=False
    )
    return out[0], ({"text_embeds": out[2]} if len(out) > 2 else {})


def _on(device: str, embedded: tuple[Tensor, dict[str, Tensor]]) -> tuple[Tensor, dict[str, Tensor]]:
    context, added = embedded
    return context.to(device), {name: value.to(device) for name, value in added.items()}
