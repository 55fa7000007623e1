"""Point tracking: where has the handle gone?"""

from __future__ import annotations

import torch
from torch import Tensor

from gooddrag.features import inside, sample_cells, window


@torch.no_grad()
def track_points(F: Tensor, f0: Tensor, p: Tensor, r2: int, grid: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """p ← argmin over q in Ω(p, r2) of ‖ F_q − f⁰ ‖₁ for each handle (paper, equation 6).

    Parameters
    ----------
    F
        Feature map of the edit (1, C, h, w).
    f0
        Features of the original handles in the unedited picture (n, C).
    p
        Where the handles were last seen (n, 2), integer cells as (x, y).
    r2
        Radius of the search window in cells; what lies off the grid is not searched.

    Returns
    -------
    p : Tensor
        New positions (n, 2); of equal candidates the first in reading order.
    drift : Tensor
        Mean absolute feature difference to the original handle at the new position (n,).
    """
    candidates = p[:, None, None] + window(r2, F.device)  # (n, s, s, 2)
    difference = (sample_cells(F, candidates, grid) - f0[:, None, None]).abs().mean(-1)
    difference = difference.masked_fill(~inside(candidates, grid), torch.inf).flatten(1)
    best = difference.argmin(1, keepdim=True)
    chosen = candidates.flatten(1, 2).gather(1, best[:, :, None].expand(-1, -1, 2))[:, 0]
    return chosen, difference.gather(1, best)[:, 0]
