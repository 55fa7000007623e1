"""The pocket engine's image codec: principal components of small patches, and a guess at the rest.

It plays the part of Stable Diffusion's autoencoder: image → a latent grid, 4 times smaller on each side. Components are
exact and linear in both directions. What they leave out of a picture, such as colours along an edge, a small network
guesses from the latents around (`Detail`); as it adds nothing that components could tell, decoding and encoding again
gives back the very latent.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.functional import conv2d, conv_transpose2d

from gooddrag.files import write_whole

WHITENING = 0.6  # 1 would give every component the same variance and drown the picture in its noise components


class Detail(nn.Sequential):
    """Latent (B, C, h, w) → what an image may have besides its components (B, 3, h·f, w·f), from 7 × 7 latent cells."""

    def __init__(self, channels: int, patch: int, width: int = 96):
        super().__init__(
            nn.Conv2d(channels, width, 3, padding=1),
            nn.SiLU(),
            nn.Conv2d(width, width, 3, padding=1),
            nn.SiLU(),
            nn.Conv2d(width, 3 * patch**2, 3, padding=1),
            nn.PixelShuffle(patch),
        )


@dataclass(frozen=True)
class PatchCodec:
    """Image (B, 3, H, W) in [-1, 1] ↔ latent (B, C, H/f, W/f).

    `basis` (C, 3, f, f) is orthonormal; component k is measured against `mean` (3, f, f) and divided by `scale` (C,).
    """

    basis: Tensor
    mean: Tensor
    scale: Tensor
    detail: Detail | None = None

    @property
    def patch(self) -> int:
        """Side of a patch in image pixels: the latent grid is this much smaller than the image."""
        return self.basis.shape[-1]

    @property
    def channels(self) -> int:
        return self.basis.shape[0]

    def encode(self, image: Tensor) -> Tensor:
        """Image (B, 3, H, W) in [-1, 1] → latent (B, C, H/f, W/f)."""
        offset = conv2d(self.mean[None], self.basis)
        return (conv2d(image.to(self.basis.dtype), self.basis, stride=self.patch) - offset) / self.scale.view(
            1, -1, 1, 1
        )

    def decode(self, z: Tensor) -> Tensor:
        """Latent (B, C, h, w) → image (B, 3, h·f, w·f), about [-1, 1] but not clamped."""
        patches = conv_transpose2d(z * self.scale.view(1, -1, 1, 1), self.basis, stride=self.patch)
        image = patches + self.mean.repeat(1, z.shape[2], z.shape[3])[None]
        return image if self.detail is None else image + self._beyond_components(self.detail(z))

    def _beyond_components(self, image: Tensor) -> Tensor:
        """What no component can express of an image (B, 3, H, W)."""
        expressed = conv_transpose2d(conv2d(image, self.basis, stride=self.patch), self.basis, stride=self.patch)
        return image - expressed

    def tensors(self) -> dict[str, Tensor]:
        """All that it consists of, by name."""
        own = {"basis": self.basis, "mean": self.mean, "scale": self.scale}
        return own | {f"detail.{name}": value for name, value in (self.detail or nn.Module()).state_dict().items()}

    @classmethod
    def of(cls, tensors: dict[str, Tensor]) -> PatchCodec:
        """The codec that consists of these `tensors()`, in float32."""
        parts = {name: value.float() for name, value in tensors.items()}
        codec = cls(parts["basis"], parts["mean"], parts["scale"])
        weights = {name.removeprefix("detail."): value for name, value in parts.items() if name.startswith("detail.")}
        if not weights:
            return codec
        detail = Detail(codec.channels, codec.patch, len(weights["0.weight"]))
        detail.load_state_dict(weights)
        return replace(codec, detail=detail.to(codec.basis.device).requires_grad_(False).eval())

    def to(self, device: torch.device | str) -> PatchCodec:
        return PatchCodec.of({name: value.to(device) for name, value in self.tensors().items()})

    @classmethod
    def fit(cls, images: Tensor, channels: int, patch: int = 4) -> PatchCodec:
        """Fit the basis to pictures (N, 3, H, W) in [-1, 1]: the `channels` strongest principal components."""
        n, _, height, width = images.shape
        patches = images.reshape(n, 3, height // patch, patch, width // patch, patch)
        patches = patches.permute(0, 2, 4, 1, 3, 5).reshape(-1, 3 * patch * patch).double()
        mean = patches.mean(0)
        variance, vectors = torch.linalg.eigh((patches - mean).T @ (patches - mean) / len(patches))
        sigma = variance.flip(0)[:channels].sqrt()
        basis = vectors.flip(1)[:, :channels].T
        basis = basis * basis.sum(1).sign().where(basis.sum(1).abs() > 1e-6, torch.ones(())).unsqueeze(1)
        softened = sigma**WHITENING
        scale = softened * (sigma / softened).mean()
        shape = (3, patch, patch)
        return cls(basis.float().reshape(-1, *shape), mean.float().reshape(shape), scale.float())

    def save(self, path: Path) -> None:
        """Write it whole or not at all; the network in half precision."""
        parts = {name: value.half() if name.startswith("detail.") else value for name, value in self.tensors().items()}
        write_whole(path, lambda part: save_file({name: value.contiguous() for name, value in parts.items()}, part))

    @classmethod
    def load(cls, path: Path) -> PatchCodec:
        return cls.of(load_file(path))


def to_tensor(pictures: np.ndarray | Tensor) -> Tensor:
    """(N, H, W, 3) uint8 → (N, 3, H, W) in [-1, 1]."""
    values = pictures if isinstance(pictures, Tensor) else torch.from_numpy(np.array(pictures))
    return values.permute(0, 3, 1, 2).float() / 127.5 - 1
