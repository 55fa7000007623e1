"""Where a point of the picture lies on the feature map, and what the map holds there.

Three frames: *image pixels* of the user's picture, *working pixels* that the backbone sees (scaled and padded), and
*feature cells*: the feature map enlarged to 4 cells per latent cell (2 image px a cell with Stable Diffusion, 1 with
pocket). Points are (n, 2) as (x, y) with centres at integers in every frame; all conversions happen in this file.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import grid_sample, interpolate, pad

CELLS_PER_LATENT = 4


@dataclass(frozen=True)
class Frame:
    """How one picture sits on the grids. All sizes are (width, height)."""

    picture: tuple[int, int]
    working: tuple[int, int]  # the picture scaled for the backbone
    padded: tuple[int, int]  # … and padded on the right and below to what the backbone can take
    grid: tuple[int, int]  # feature cells
    official: bool = False

    @classmethod
    def fit(
        cls,
        picture: tuple[int, int],
        latent_scale: int,
        multiple: int,
        working_side: int | None = None,
        official: bool = False,
    ) -> Frame:
        """Choose the sizes for a picture.

        `working_side` asks for about that many pixels squared in all (pocket knows 64 × 64 pictures); None keeps the
        picture's size. The official code doesn't pad: the encoder drops what is left over, and the result is stretched.
        """
        working = picture
        if working_side is not None:
            scale = working_side / (picture[0] * picture[1]) ** 0.5
            working = tuple(max(multiple * round(s * scale / multiple), 4 * multiple) for s in picture)  # type: ignore
        if official:
            grid = tuple(int(s * CELLS_PER_LATENT / latent_scale) for s in working)
            return cls(picture, working, working, grid, official=True)  # type: ignore[arg-type]
        padded = tuple(-(-s // multiple) * multiple for s in working)
        grid = tuple(s * CELLS_PER_LATENT // latent_scale for s in padded)
        return cls(picture, working, padded, grid)  # type: ignore[arg-type]

    def to_cells(self, points: np.ndarray) -> Tensor:
        """Image pixels (n, 2) → the nearest feature cells (n, 2), float32 of integer value (halves to even)."""
        picture, working, padded, grid = (
            np.array(s, float) for s in (self.picture, self.working, self.padded, self.grid)
        )
        if self.official:  # no half-pixel shift; in single precision, where halves are exact
            cells = (points / picture * grid).astype(np.float32)
        else:
            cells = (points + 0.5) * (working / picture) * (grid / padded) - 0.5
        return torch.from_numpy(np.clip(np.round(cells), 0, grid - 1)).float()

    def to_pixels(self, cells: Tensor) -> np.ndarray:
        """Feature cells (n, 2) → image pixels (n, 2)."""
        picture, working, padded, grid = (
            np.array(s, float) for s in (self.picture, self.working, self.padded, self.grid)
        )
        points = cells.detach().cpu().double().numpy()
        if self.official:
            return np.round(points * picture / grid)
        return (points + 0.5) * (padded / grid) * (picture / working) - 0.5

    @property
    def pixels_per_cell(self) -> tuple[float, float]:
        """Image pixels that one feature cell spans, in x and y."""
        return tuple(
            pd / g * p / w for pd, g, p, w in zip(self.padded, self.grid, self.picture, self.working, strict=True)
        )  # type: ignore

    def to_tensor(self, image: Image.Image) -> Tensor:
        """RGB picture → (1, 3, H, W) in [-1, 1], scaled and padded (edges repeated)."""
        if image.size != self.working:
            image = image.resize(self.working, Image.Resampling.LANCZOS)
        x = torch.from_numpy(np.array(image, np.float32)).permute(2, 0, 1)[None] / 127.5 - 1
        right, below = self.padded[0] - self.working[0], self.padded[1] - self.working[1]
        return pad(x, (0, right, 0, below), mode="replicate") if right or below else x

    def to_image(self, x: Tensor) -> Image.Image:
        """Decoded (1, 3, H, W) in [-1, 1] → RGB picture of the user's size."""
        x = (x.detach().float().cpu() / 2 + 0.5).clamp(0, 1)
        if self.official:
            width, height = self.picture
            x = interpolate(x, (height, width), mode="bilinear", align_corners=False)
            return Image.fromarray((x[0] * 255).permute(1, 2, 0).byte().numpy())  # truncated, quirk Q19
        x = x[..., : self.working[1], : self.working[0]]
        image = Image.fromarray((x[0] * 255).round().permute(1, 2, 0).byte().numpy())
        return image if image.size == self.picture else image.resize(self.picture, Image.Resampling.LANCZOS)

    def to_map(self, values: Tensor) -> np.ndarray:
        """Numbers on a latent's or feature map's grid (1, 1, h, w) → (H, W) for the user's picture, bilinear."""
        padded = interpolate(values.detach().float(), self.padded[::-1], mode="bilinear", align_corners=False)
        working = padded[..., : self.working[1], : self.working[0]]
        picture = interpolate(working, self.picture[::-1], mode="bilinear", align_corners=False)
        return picture[0, 0].cpu().numpy()

    def to_latent_mask(self, mask: np.ndarray, latent: tuple[int, int]) -> Tensor:
        """Mask (H, W) bool, True may change → M (1, 1, h, w) in 0..1, the editable share of each latent cell.

        The official code takes the nearest pixel instead, so its mask is 0 or 1.
        """
        m = torch.from_numpy(mask.astype(np.float32))[None, None]
        if self.official:
            m = interpolate(m, (self.grid[1], self.grid[0]), mode="nearest")
            return interpolate(m, latent, mode="nearest")
        m = interpolate(m, (self.working[1], self.working[0]), mode="area")
        m = pad(m, (0, self.padded[0] - self.working[0], 0, self.padded[1] - self.working[1]))
        return interpolate(m, latent, mode="area")


def sample_cells(F: Tensor, cells: Tensor, grid: tuple[int, int]) -> Tensor:
    """Read a feature map at feature cells, without ever enlarging it.

    Equal to bilinear enlargement of `F` (1, C, h, w) to `grid` (width, height) with half-pixel centres, read at
    `cells` (…, 2); cells outside read the border. Returns (…, C).
    """
    size = torch.tensor(grid, dtype=F.dtype, device=F.device)
    where = ((cells.to(F.dtype) + 0.5) * 2 / size - 1).reshape(1, 1, -1, 2)
    values = grid_sample(F, where, mode="bilinear", padding_mode="border", align_corners=False)
    return values[0, :, 0].T.reshape(*cells.shape[:-1], F.shape[1])


def window(radius: int, device: torch.device | str = "cpu", extra: int = 0) -> Tensor:
    """Offsets (2r+1+extra, 2r+1+extra, 2) of the square patch Ω around a cell, as (x, y), row by row."""
    side = torch.arange(-radius, radius + 1 + extra, device=device, dtype=torch.float32)
    y, x = torch.meshgrid(side, side, indexing="ij")
    return torch.stack([x, y], -1)


def sample_patch(F: Tensor, centre: Tensor, radius: int, grid: tuple[int, int]) -> Tensor:
    """The square patches F_Ω(p, r) around real-valued cells (paper, section 3.2).

    Interpolates between the four integer-shifted windows, as the official code does, so a patch at a fractional
    position is a blend of *cells*, not of the coarse map.

    Parameters
    ----------
    F
        Feature map (1, C, h, w).
    centre
        (n, 2) cells as (x, y).

    Returns
    -------
    Tensor
        (n, 2r+1, 2r+1, C)
    """
    corner = centre.floor()
    fx, fy = (centre - corner).to(F.dtype).T[:, :, None, None, None]
    cells = corner[:, None, None] + window(radius, F.device, extra=1)
    W = sample_cells(F, cells, grid)  # (n, 2r+2, 2r+2, C)
    rows = (1 - fy) * W[:, :-1] + fy * W[:, 1:]
    return (1 - fx) * rows[:, :, :-1] + fx * rows[:, :, 1:]


def inside(cells: Tensor, grid: tuple[int, int]) -> Tensor:
    """Which cells (…, 2) lie on the grid (width, height): (…) bool."""
    limit = torch.tensor(grid, device=cells.device) - 1
    return ((cells >= 0) & (cells <= limit)).all(-1)
