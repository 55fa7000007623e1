"""DragDiffusion's published algorithm, slowly and literally, as a second opinion for the faster engine.

Written from the specification of its repository alone (sections 3.0 to 3.3 there); timesteps, DDIM, the U-Net and
mutual attention are those of `literal.py`. Points are (row, col) in cells of the feature grid.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tests.reference.literal import (
    abar,
    all_reached,
    ddim_step,
    distance,
    invert,
    live_timesteps,
    run_mutually,
    run_unet,
    timestep_stride,
    to_eps,
)


@dataclass(frozen=True)
class DragDiffusionResult:
    """`latents` after each gradient step; `points` as they were when each loss was computed; `final` picture latent."""

    latents: list[Tensor]
    points: list[Tensor]
    final: Tensor


def motion_term(F: Tensor, p: Tensor, target: Tensor, r_m: int) -> Tensor:
    """(2 r_m + 1)^2 times the mean absolute difference of the window and the same window moved by a unit vector."""
    Hf, Wf = F.shape[2:]
    d = (target - p) / distance(p, target)
    differences = []
    for row in range(max(0, int(p[0]) - r_m), min(Hf, int(p[0]) + r_m + 1)):
        for col in range(max(0, int(p[1]) - r_m), min(Wf, int(p[1]) + r_m + 1)):
            y, x = row + float(d[0]), col + float(d[1])
            if not (0 <= y <= Hf - 1 and 0 <= x <= Wf - 1):
                continue  # the published code protects the window itself only
            y0, x0 = math.floor(y), math.floor(x)
            y1, x1 = min(y0 + 1, Hf - 1), min(x0 + 1, Wf - 1)
            v, u = y - y0, x - x0
            moved = (
                (1 - v) * (1 - u) * F[0, :, y0, x0]
                + (1 - v) * u * F[0, :, y0, x1]
                + v * (1 - u) * F[0, :, y1, x0]
                + v * u * F[0, :, y1, x1]
            )
            differences.append((F[0, :, row, col].detach() - moved).abs().mean())
    return (2 * r_m + 1) ** 2 * torch.stack(differences).mean()


def track_clipped(F0: Tensor, F1: Tensor, P: Tensor, P0: Tensor, r_p: int) -> Tensor:
    """Nearest neighbour of the original handle's features in the window around each handle, cut at the border."""
    Hf, Wf = F1.shape[2:]
    found = P.clone()
    for k in range(len(P)):
        f0 = F0[0, :, int(P0[k, 0]), int(P0[k, 1])]
        best = math.inf
        for row in range(max(0, int(P[k, 0]) - r_p), min(Hf, int(P[k, 0]) + r_p + 1)):
            for col in range(max(0, int(P[k, 1]) - r_p), min(Wf, int(P[k, 1]) + r_p + 1)):
                difference = float((f0 - F1[0, :, row, col]).abs().sum())
                if difference < best:
                    best = difference
                    found[k, 0], found[k, 1] = row, col
    return found


def literal_dragdiffusion(
    unet: nn.Module,
    context: Tensor,
    alphas_cumprod: tuple[float, ...],
    z0: Tensor,
    handles: Tensor,
    targets: Tensor,
    mask: Tensor | None,
    n_pix_step: int,
    steps: int = 50,
    strength: float = 0.7,
    r_m: int = 1,
    r_p: int = 3,
    lam: float = 0.1,
    lr: float = 0.01,
    feature_block: int = 2,
    grid: tuple[int, int] | None = None,
) -> DragDiffusionResult:
    """Edit a latent; arguments as for `literal_edit`, names as in the published code."""
    stride, live = timestep_stride(steps), live_timesteps(steps, strength)

    def predict(z: Tensor, t: int) -> tuple[Tensor, Tensor]:
        output, F = run_unet(unet, z, t, context, feature_block, grid)
        return to_eps(output, z, abar(alphas_cumprod, t), "epsilon"), F

    t = live[0]
    with torch.no_grad():
        original = invert(lambda z, s: predict(z, s)[0], z0, live, alphas_cumprod, stride)
        e0, F0 = predict(original, t)
        zprev0 = ddim_step(e0, t, original, alphas_cumprod, stride)

    z = original.clone().requires_grad_()
    opt = torch.optim.Adam([z], lr=lr)
    P, P0 = handles.clone(), handles.clone()
    latents, points = [], []
    for k in range(n_pix_step):
        e, F1 = predict(z, t)
        zprev = ddim_step(e, t, z, alphas_cumprod, stride)
        if k > 0:
            P = track_clipped(F0, F1.detach(), P, P0, r_p)
        if all_reached(P, targets, 2):
            break
        points.append(P.clone())
        loss = torch.zeros((), dtype=z.dtype)
        for p, target in zip(P, targets, strict=True):
            if distance(p, target) >= 2:
                loss = loss + motion_term(F1, p, target, r_m)
        if mask is not None and bool((mask != 0).any()):
            loss = loss + lam * ((zprev - zprev0) * (1 - mask)).abs().sum()
        opt.zero_grad()
        loss.backward()
        opt.step()
        latents.append(z.detach().clone())

    z, ref = z.detach(), original
    for t in live:
        pair = torch.cat([ref, z])
        with torch.no_grad():
            e, _ = run_mutually(unet, feature_block, lambda pair=pair, t=t: predict(pair, t))
        ref = ddim_step(e[:1], t, ref, alphas_cumprod, stride)
        z = ddim_step(e[1:], t, z, alphas_cumprod, stride)
    return DragDiffusionResult(latents, points, z)
