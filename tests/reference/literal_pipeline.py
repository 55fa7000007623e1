"""From a model's folder, a picture and points to a picture, slowly and literally: what lies around `literal.py`.

How pictures, points and masks come onto the grids and back, as the published code does it and as the paper's method
done right does: nothing here is shared with the engine. Points outside are (x, y) in pixels of the picture, as on disk;
inside they are (row, col) in cells of the feature grid.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from torch import Tensor, nn
from torch.nn import functional
from transformers import CLIPTextModel, CLIPTokenizer

from tests.reference.literal import LiteralSettings, literal_edit
from tests.reference.literal_dragdiffusion import literal_dragdiffusion

CELL = 8  # picture pixels per latent cell and side
SCALING = 0.18215


@dataclass(frozen=True)
class Model:
    """What a Stable Diffusion folder holds: `context` (1, 77, D) is the empty prompt."""

    unet: nn.Module
    vae: nn.Module
    context: Tensor
    alphas_cumprod: Tensor  # (1000,)


@dataclass(frozen=True)
class Picture:
    """A picture (H, W, 3) uint8, handles and targets (n, 2) as (x, y), and a mask (H, W) bool or none."""

    image: np.ndarray
    handles: np.ndarray
    targets: np.ndarray
    mask: np.ndarray | None

    @property
    def size(self) -> tuple[int, int]:
        """(H, W)."""
        return self.image.shape[0], self.image.shape[1]


@dataclass(frozen=True)
class OnGrids:
    """The same on the grids: latent (1, 4, h, w), cells (n, 2), mask (1, 1, h, w), grid (Hf, Wf)."""

    z0: Tensor
    handles: Tensor
    targets: Tensor
    mask: Tensor | None
    grid: tuple[int, int]


@dataclass(frozen=True)
class Outcome:
    """What an edit gave: `points` (n, 2) as (x, y) pixels and `latents` after each drag, last latent, picture."""

    points: list[np.ndarray]
    latents: list[Tensor]
    final: Tensor
    image: np.ndarray  # (H, W, 3) uint8


def read_model(folder: Path) -> Model:
    """Read each part of a folder in double precision, and embed the empty prompt, padded to 77 tokens."""
    how = {"torch_dtype": torch.float64, "local_files_only": True}
    tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer", local_files_only=True)
    tokens = tokenizer("", padding="max_length", max_length=77, return_tensors="pt").input_ids
    with torch.no_grad():
        context = CLIPTextModel.from_pretrained(folder / "text_encoder", **how)(tokens)[0]
    return Model(
        unet=UNet2DConditionModel.from_pretrained(folder / "unet", **how).eval(),
        vae=AutoencoderKL.from_pretrained(folder / "vae", **how).eval(),
        context=context,
        alphas_cumprod=DDIMScheduler.from_pretrained(folder / "scheduler").alphas_cumprod.double(),
    )


# ------------------------------------------------------------------------------------------------ the autoencoder (1.2)


@torch.no_grad()
def encode(model: Model, image: np.ndarray) -> Tensor:
    """Picture (H, W, 3) -> the mean of its posterior, scaled, in single precision, (1, 4, H // 8, W // 8).

    Each of the encoder's three halvings rounds down.
    """
    x = torch.from_numpy(image).float() / 127.5 - 1
    x = x.permute(2, 0, 1)[None].double()
    return (model.vae.encode(x).latent_dist.mean.float() * SCALING).double()


@torch.no_grad()
def decode(model: Model, z: Tensor) -> Tensor:
    """Latent -> picture (1, 3, 8h, 8w) in 0..1, in single precision."""
    return (model.vae.decode(z / SCALING).sample.float() / 2 + 0.5).clamp(0, 1)


# ------------------------------------------------------------------------------------------- the published code's grids


def official_grids(model: Model, picture: Picture) -> OnGrids:
    """Sizes are rounded down, points are scaled and rounded, the mask is read at the nearest pixels (1.1, 1.2)."""
    z0 = encode(model, picture.image)
    H, W = picture.size
    grid = (int(H / 2), int(W / 2))
    mask = None
    if picture.mask is not None:
        mask = torch.from_numpy(picture.mask).double()[None, None]
        mask = functional.interpolate(mask, size=grid, mode="nearest")
        mask = functional.interpolate(mask, size=(z0.shape[2], z0.shape[3]), mode="nearest")
    handles, targets = (official_cells(points, (H, W), grid) for points in (picture.handles, picture.targets))
    return OnGrids(z0, handles, targets, mask, grid)


def official_cells(points: np.ndarray, size: tuple[int, int], grid: tuple[int, int]) -> Tensor:
    """(x, y) pixels -> (row, col) cells: scaled, brought to single precision, and rounded, halves to even."""
    (H, W), (Hf, Wf) = size, grid
    cells = torch.tensor([[y / H * Hf, x / W * Wf] for x, y in points.tolist()], dtype=torch.float32)
    return cells.round().double()


def official_pixels(cells: Tensor, size: tuple[int, int], grid: tuple[int, int]) -> np.ndarray:
    """(row, col) cells -> whole (x, y) pixels (1.12)."""
    (H, W), (Hf, Wf) = size, grid
    return np.array([[round(col * W / Wf), round(row * H / Hf)] for row, col in cells.tolist()], float)


def official_picture(model: Model, z: Tensor, size: tuple[int, int]) -> np.ndarray:
    """Decode, stretch to the picture's size, and cut off what is left of each grey level (1.12, Q19)."""
    x = functional.interpolate(decode(model, z), size, mode="bilinear", align_corners=False)
    return (x[0].permute(1, 2, 0).numpy() * 255).astype(np.uint8)


# ------------------------------------------------------------------------------------------- the paper's method's grids


def paper_grids(model: Model, picture: Picture) -> OnGrids:
    """Sizes are padded with what is at the edge, points go by pixels' centres, the mask counts by its share."""
    H, W = picture.size
    h, w = math.ceil(H / CELL), math.ceil(W / CELL)
    below, right = CELL * h - H, CELL * w - W
    z0 = encode(model, np.pad(picture.image, ((0, below), (0, right), (0, 0)), mode="edge"))
    mask = None
    if picture.mask is not None:
        whole = np.pad(picture.mask.astype(float), ((0, below), (0, right)))
        mask = torch.from_numpy(whole.reshape(h, CELL, w, CELL).mean(axis=(1, 3)))[None, None]
    handles, targets = (paper_cells(points) for points in (picture.handles, picture.targets))
    return OnGrids(z0, handles, targets, mask, (4 * h, 4 * w))


def paper_cells(points: np.ndarray) -> Tensor:
    """(x, y) pixels -> the nearest (row, col) cells; a cell's centre lies between two pixels' centres."""
    cells = [[round((y + 0.5) / 2 - 0.5), round((x + 0.5) / 2 - 0.5)] for x, y in points.tolist()]
    return torch.tensor(cells, dtype=torch.float64)


def paper_pixels(cells: Tensor) -> np.ndarray:
    """(row, col) cells -> (x, y) pixels, of half-integer value."""
    return np.array([[(col + 0.5) * 2 - 0.5, (row + 0.5) * 2 - 0.5] for row, col in cells.tolist()])


def paper_picture(model: Model, z: Tensor, size: tuple[int, int]) -> np.ndarray:
    """Decode, cut off what was padded, and round."""
    x = decode(model, z)[0, :, : size[0], : size[1]]
    return np.rint(x.permute(1, 2, 0).numpy() * 255).astype(np.uint8)


# ----------------------------------------------------------------------------------------------------- the whole way


def literal_gooddrag(model: Model, picture: Picture, settings: LiteralSettings) -> Outcome:
    """Edit a picture as `settings.compat` has it."""
    official = settings.compat == "official"
    on = official_grids(model, picture) if official else paper_grids(model, picture)
    edit = literal_edit(
        model.unet, model.context, model.alphas_cumprod, on.z0, on.handles, on.targets, on.mask, settings, grid=on.grid
    )
    if not official:
        points = [paper_pixels(cells) for cells in edit.points]
        return Outcome(points, edit.latents, edit.final, paper_picture(model, edit.final, picture.size))
    points = [official_pixels(cells, picture.size, on.grid) for cells in edit.points]
    return Outcome(points, edit.latents, edit.final, official_picture(model, edit.final, picture.size))


def literal_dragdiffusion_picture(model: Model, picture: Picture, n_pix_step: int, **settings) -> Outcome:
    """Edit a picture with DragDiffusion's published code; `points` are those that each loss was computed with."""
    on = official_grids(model, picture)
    edit = literal_dragdiffusion(
        model.unet, model.context, model.alphas_cumprod, on.z0, on.handles, on.targets, on.mask, n_pix_step,
        grid=on.grid, **settings,
    )  # fmt: skip
    points = [official_pixels(cells, picture.size, on.grid) for cells in edit.points]
    return Outcome(points, edit.latents, edit.final, official_picture(model, edit.final, picture.size))
