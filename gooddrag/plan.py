"""How much memory an edit will take, phase by phase, before any weights are there: see `gooddrag doctor --plan`.

A dry run: the network is built from its configuration and run on tensors that have a shape and no numbers, while every
tensor that comes and goes is counted. What the machine takes besides is two measured constants.
"""

from __future__ import annotations

import json
import re
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from gooddrag.architectures import ARCHITECTURES, Architecture
from gooddrag.backbone import TILE, Backbone, Memory, VaeCodec
from gooddrag.errors import BadInput
from gooddrag.lora import TARGETS
from gooddrag.methods import GoodDrag, LoraSettings

GB = 2**30
PHASES = ("load", "learn identity", "invert", "drag", "denoise", "decode")
BASE = 0.6  # GB: Python and its libraries before any weights, on a CPU
WASTE = 1.2  # what the allocator and the kernels' own buffers make of the tensors of a pass
LARGEST = 16384  # px a side


@dataclass(frozen=True)
class Phase:
    """What one phase of an edit takes, in GB (2³⁰ bytes)."""

    name: str
    weights: float  # of all parts that are there during the phase, an adapter's copies included
    kept: float  # what is borrowed from the source: features and attention inputs
    working: float  # tensors of a pass: the autoencoder's largest sum so far, and the U-Net's

    @property
    def total(self) -> float:
        """What the process is expected to take at its peak."""
        return BASE + self.weights + self.kept + WASTE * self.working


@dataclass(frozen=True)
class DryRun:
    """What a dry run has counted, in GB at float32; `phases` makes a plan of it."""

    memory: Memory
    unet: float
    vae: float
    text: float
    adapted: float  # weights of the layers that an adapter is folded into
    adapted_sides: int  # their inputs and outputs, added up: what one rank of the adapter costs, in numbers
    borrowed: float  # features and attention inputs of one timestep
    encode: float
    look: float  # a pass without gradients
    drag: float  # a pass with its gradients
    decode: float

    def phases(self, dtype: torch.dtype) -> list[Phase]:
        """An edit with GoodDrag's own settings, with weights of that type.

        Other types than float32 count in proportion to their size, though latents and the adapter stay in float32. A
        training step takes as much as a drag, for each picture that it sees at once. Memory that one pass has given
        back serves later passes of the same network, not those of the other: so it was measured for the edit, and
        training is taken to leave nothing behind.
        """
        method, share = GoodDrag(), dtype.itemsize / 4
        lora = method.lora or LoraSettings()
        timesteps, at_once = (1, 1) if self.memory == "low" else (len(method.timeline), lora.batch)
        adapter = 4 * 4 * lora.rank * self.adapted_sides / GB  # float32: weights, gradients and AdamW's two moments
        resident = share * (self.unet + self.vae)
        edited = resident + share * self.adapted  # the layers' own weights are kept aside for later
        kept = share * self.borrowed * timesteps
        return [
            Phase("load", resident + share * self.text, 0.0, 0.0),
            Phase("learn identity", resident + adapter, 0.0, share * (self.encode + self.drag * at_once)),
            Phase("invert", edited, kept, share * (self.encode + self.look)),
            Phase("drag", edited, kept, share * (self.encode + self.drag)),
            Phase("denoise", edited, kept, share * (self.encode + self.drag)),
            Phase("decode", edited, kept, share * (max(self.encode, self.decode) + self.drag)),
        ]


def plan(size: tuple[int, int], architecture: Architecture, memory: Memory) -> DryRun:
    """Count what an edit of a picture takes, without weights; a few seconds of computing.

    Parameters
    ----------
    size
        Width and height of the picture in px.
    architecture
        See `architecture_of`.
    memory
        As for `load_backbone`.

    Raises
    ------
    BadInput
        When the picture's size can't be.
    """
    width, height = size
    if not (8 <= width <= LARGEST and 8 <= height <= LARGEST):
        raise BadInput(f"A picture of {width}×{height} px can't be planned: give sides from 8 to {LARGEST} px.")
    with FakeTensorMode():
        return _count(architecture, memory, (height, width))


def architecture_of(name: str) -> Architecture:
    """An alias ("sd15", "sd21", "sdxl"), or a diffusers folder; only its configurations are read.

    Raises
    ------
    BadInput
        When it is neither.
    """
    if name in ARCHITECTURES:
        return ARCHITECTURES[name]
    folder = Path(name).expanduser()
    parts = ("unet", "vae", "text_encoder", "text_encoder_2")
    configs = [
        json.loads((folder / part / "config.json").read_text()) if (folder / part).is_dir() else None for part in parts
    ]
    unet, vae, *texts = configs
    if unet is None or vae is None:
        raise BadInput(f"'{name}' can't be planned: give {', '.join(ARCHITECTURES)} or a diffusers folder.")
    return Architecture(name, unet, vae, tuple(text for text in texts if text))


def parse_size(text: str) -> tuple[int, int]:
    """ "512x768" → (512, 768): width and height in px."""
    match = re.fullmatch(r"\s*(\d{1,5})\s*[x×X]\s*(\d{1,5})\s*", text)
    if match is None:
        raise BadInput(f"'{text}' is no size: write width and height in px as 512x512.")
    return int(match[1]), int(match[2])


def _count(architecture: Architecture, memory: Memory, size: tuple[int, int]) -> DryRun:
    backbone = _without_numbers(architecture, memory)
    image = torch.zeros(1, 3, *(-(-side // backbone.image_multiple) * backbone.image_multiple for side in size))
    z = torch.zeros(1, architecture.unet["in_channels"], *(side // backbone.latent_scale for side in image.shape[2:]))
    with torch.no_grad(), backbone.recording() as borrowed:
        features = backbone.predict(z, 500, features=True).features
    assert features is not None
    assert isinstance(backbone.codec, VaeCodec)
    adapted = [m for n, m in backbone.unet.named_modules() if n.endswith(TARGETS) and isinstance(m, nn.Linear)]
    return DryRun(
        memory=memory,
        unet=_weights(backbone.unet),
        vae=_weights(backbone.codec.vae),
        text=sum(_weights(encoder) for encoder in architecture.build_text_encoders()),
        adapted=sum(m.weight.numel() for m in adapted) * 4 / GB,
        adapted_sides=sum(m.in_features + m.out_features for m in adapted),
        borrowed=sum(t.numel() for t in [features, *borrowed]) * 4 / GB,
        encode=_peak(lambda: backbone.encode(image)),
        look=_peak(lambda: _pass(backbone, z)),
        drag=_peak(lambda: _pass_and_back(backbone, z)),
        decode=_peak(lambda: backbone.decode(z)),
    )


def _without_numbers(architecture: Architecture, memory: Memory) -> Backbone:
    unet, vae = architecture.build_unet(), architecture.build_vae()
    tokens = torch.zeros(1, 77, architecture.unet["cross_attention_dim"])
    scale = 2 ** (len(architecture.vae["block_out_channels"]) - 1)
    pooled = architecture.text[-1]["projection_dim"] if architecture.two_encoders else 0
    return Backbone(
        name=architecture.name,
        unet=unet,
        codec=VaeCodec(vae.requires_grad_(False).eval(), tile=TILE[memory]),
        context=tokens,
        alphas=(0.5,) * 1000,
        prediction="epsilon",
        latent_scale=scale,
        image_multiple=scale,
        added={"text_embeds": torch.zeros(1, pooled)} if pooled else {},
        memory=memory,
    )


@torch.no_grad()
def _pass(backbone: Backbone, z: Tensor) -> None:
    backbone.predict(z, 500, features=True)


def _pass_and_back(backbone: Backbone, z: Tensor) -> None:
    look = backbone.predict(z.clone().requires_grad_(), 500, features=True)
    assert look.features is not None
    (look.features.square().sum() + look.eps.square().sum()).backward()


def _weights(part: nn.Module) -> float:
    return sum(p.numel() for p in part.parameters()) * 4 / GB


def _peak(work: Callable[[], Any]) -> float:
    """The largest sum of the sizes of tensors alive while `work` runs, in GB, without those that were there before."""
    with _Ledger() as ledger:
        work()
    return ledger.peak / GB


class _Ledger(TorchDispatchMode):
    """Counts the bytes of each tensor that an operation makes, until it is given back."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self.alive: dict[int, Any] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        before = {id(t.untyped_storage()) for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)}
        out = func(*args, **(kwargs or {}))
        for made in tree_leaves(out):
            if isinstance(made, Tensor) and id(made.untyped_storage()) not in before:
                self._enter(made.untyped_storage())
        return out

    def _enter(self, storage: Any) -> None:
        key, size = id(storage), storage.nbytes()
        if key not in self.alive:
            self.alive[key] = weakref.finalize(storage, self._leave, key, size)
            self.now += size
            self.peak = max(self.peak, self.now)

    def _leave(self, key: int, size: int) -> None:
        self.alive.pop(key, None)
        self.now -= size
