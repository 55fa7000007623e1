"""The pocket engine's image codec: principal components of small patches, exact and linear in both directions.

It plays the part of Stable Diffusion's autoencoder: image → a latent grid, 4 times smaller on each side.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn.functional import conv2d, conv_transpose2d

WHITENING = 0.6  # 1 would give every component the same variance and drown the picture in its noise components


@dataclass(frozen=True)
class PatchCodec:
    """Image (B, 3, H, W) in [-1, 1] ↔ latent (B, C, H/f, W/f).

    `basis` (C, 3, f, f) is orthonormal; component k is measured against `mean` (3, f, f) and divided by `scale` (C,).
    """

    basis: Tensor
    mean: Tensor
    scale: Tensor

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
        return patches + self.mean.repeat(1, z.shape[2], z.shape[3])[None]

    def to(self, device: torch.device | str) -> PatchCodec:
        return PatchCodec(self.basis.to(device), self.mean.to(device), self.scale.to(device))

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
        save_file({"basis": self.basis.contiguous(), "mean": self.mean, "scale": self.scale}, path)

    @classmethod
    def load(cls, path: Path) -> PatchCodec:
        return cls(**load_file(path))


def to_tensor(pictures: np.ndarray) -> Tensor:
    """(N, H, W, 3) uint8 → (N, 3, H, W) in [-1, 1]."""
    return torch.from_numpy(np.array(pictures)).permute(0, 3, 1, 2).float() / 127.5 - 1
