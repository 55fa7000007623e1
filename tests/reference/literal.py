"""The algorithm, literally and slowly: full-size feature maps, Python loops, batches of two, nothing cached or shared.

Written from the specification alone, without the engine's code, so that both can be held against each other. Points
are (row, col) tensors on the feature grid, which has 4 cells per latent cell. Section numbers are those of the
published code's specification: 1.4 inversion, 1.6 source cache, 1.7 main loop, 1.8 drags, 1.9 loss, 1.10 tracking,
1.11 mutual self-attention.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn.functional import interpolate


@dataclass(frozen=True)
class LiteralSettings:
    steps: int = 50
    strength: float = 0.75
    t2: int = 7  # timesteps that are dragged; 1 with per_denoise = K is "all drags first"
    per_denoise: int = 10
    J: int = 3
    r1: int = 4
    r2: int = 12
    beta: float = 4.0
    lr: float = 0.02
    lam: float = 0.1
    reach: float = 2.0
    supervision: str = "ipms"
    compat: str = "paper"
    max_unchanged: int = 5  # official only
    mutual: bool = True
    prediction: str = "epsilon"


@dataclass
class LiteralResult:
    latents: list[Tensor] = field(default_factory=list)  # after each drag
    points: list[Tensor] = field(default_factory=list)  # (n, 2) rows and columns after each drag
    final: Tensor | None = None
    inverted: Tensor | None = None
    gradient_steps: int = 0
    counted_trackings: int = 0
    uncounted_trackings: int = 0
    mutual_from: int | None = None


def timesteps(steps: int, strength: float) -> list[int]:
    stride = 1000 // steps
    everything = [stride * (steps - 1 - i) + 1 for i in range(steps)]
    return everything[steps - round(strength * steps) :]


class Diffusion:
    """U-Net, context and noise levels, asked one pass at a time."""

    def __init__(self, unet, context, alphas, prediction):
        self.unet, self.context, self.alphas, self.prediction = unet, context, alphas, prediction

    def abar(self, t: int) -> float:
        return self.alphas[t] if t >= 0 else self.alphas[0]

    def eps(self, z: Tensor, t: int) -> Tensor:
        out = self.unet(z, t, encoder_hidden_states=torch.cat([self.context] * z.shape[0])).sample
        if self.prediction == "v_prediction":
            out = math.sqrt(self.abar(t)) * out + math.sqrt(1 - self.abar(t)) * z
        return out

    def eps_and_features(self, z: Tensor, t: int) -> tuple[Tensor, Tensor]:
        """Noise, and the output of up_blocks[2] enlarged to the whole feature grid (1, C, 4h, 4w)."""
        kept = {}
        handle = self.unet.up_blocks[2].register_forward_hook(lambda m, i, o: kept.update(F=o))
        e = self.eps(z, t)
        handle.remove()
        size = (4 * z.shape[2], 4 * z.shape[3])
        return e, interpolate(kept["F"], size=size, mode="bilinear", align_corners=False)

    def ddim_step(self, e: Tensor, t: int, z: Tensor, stride: int) -> Tensor:
        a, b = self.abar(t), self.abar(t - stride)
        x0 = (z - math.sqrt(1 - a) * e) / math.sqrt(a)
        return math.sqrt(b) * x0 + math.sqrt(1 - b) * e


def invert(model: Diffusion, z0: Tensor, live: list[int], stride: int) -> Tensor:
    z = z0
    for t in reversed(live):
        e = model.eps(z, t)
        a, b = model.abar(t - stride), model.abar(t)
        x0 = (z - math.sqrt(1 - a) * e) / math.sqrt(a)
        z = math.sqrt(b) * x0 + math.sqrt(1 - b) * e
    return z


def step_vector(p: Tensor, target: Tensor, beta: float) -> Tensor:
    distance = (target - p).norm()
    return (target - p) / distance * min(beta, distance.item())


def integer_window(F: Tensor, row: int, col: int, r: int) -> Tensor:
    """(C, 2r+1, 2r+1) cut out of F (1, C, H, W); leaving the map is an error here."""
    if row - r < 0 or col - r < 0 or row + r >= F.shape[2] or col + r >= F.shape[3]:
        raise RuntimeError("window leaves the map")
    return F[0, :, row - r : row + r + 1, col - r : col + r + 1]


def fractional_window(F: Tensor, row: float, col: float, r: int) -> Tensor:
    """Four shifted integer windows, blended with one pair of weights."""
    r0, c0 = math.floor(row), math.floor(col)
    wr, wc = row - r0, col - c0
    out = (1 - wr) * (1 - wc) * integer_window(F, r0, c0, r)
    if wc > 0:
        out = out + (1 - wr) * wc * integer_window(F, r0, c0 + 1, r)
    if wr > 0:
        out = out + wr * (1 - wc) * integer_window(F, r0 + 1, c0, r)
    if wr > 0 and wc > 0:
        out = out + wr * wc * integer_window(F, r0 + 1, c0 + 1, r)
    return out


def official_term(F_ref: Tensor, at: Tensor, F: Tensor, p: Tensor, d: Tensor, r1: int) -> Tensor:
    A = integer_window(F_ref, int(at[0]), int(at[1]), r1).detach()
    B = fractional_window(F, float(p[0] + d[0]), float(p[1] + d[1]), r1)
    return (2 * r1) ** 2 * (A - B).abs().mean()


def paper_term(F_ref: Tensor, at: Tensor, F: Tensor, p: Tensor, d: Tensor, r1: int) -> Tensor:
    """Position by position; positions of which either point is off the map are left out."""
    H, W = F.shape[2:]
    total = torch.zeros((), dtype=F.dtype)
    for dr in range(-r1, r1 + 1):
        for dc in range(-r1, r1 + 1):
            ar, ac = int(at[0]) + dr, int(at[1]) + dc
            br, bc = float(p[0] + d[0]) + dr, float(p[1] + d[1]) + dc
            if not (0 <= ar <= H - 1 and 0 <= ac <= W - 1 and 0 <= br <= H - 1 and 0 <= bc <= W - 1):
                continue
            A = F_ref[0, :, ar, ac].detach()
            r0, c0 = math.floor(br), math.floor(bc)
            wr, wc = br - r0, bc - c0
            r9, c9 = min(r0 + 1, H - 1), min(c0 + 1, W - 1)
            B = (1 - wr) * ((1 - wc) * F[0, :, r0, c0] + wc * F[0, :, r0, c9]) + wr * (
                (1 - wc) * F[0, :, r9, c0] + wc * F[0, :, r9, c9]
            )
            total = total + (A - B).abs().mean()
    return total


def total_loss(F, Lprev, F_src, prev_src, P, P0, T, m, s: LiteralSettings) -> Tensor:
    term = official_term if s.compat == "official" else paper_term
    loss = torch.zeros((), dtype=F.dtype)
    for p, p0, target in zip(P, P0, T, strict=True):
        if (target - p).norm() < s.reach:
            continue
        d = step_vector(p, target, s.beta)
        if s.supervision == "ipms":
            loss = loss + term(F_src, p0, F, p, d, s.r1)
        else:
            loss = loss + term(F, p, F, p, d, s.r1)
    if m is not None:
        loss = loss + s.lam * ((Lprev - prev_src) * (1 - m)).abs().sum()
    return loss


def track(F_src: Tensor, F: Tensor, P: Tensor, P0: Tensor, r2: int, compat: str) -> Tensor:
    out = P.clone()
    H, W = F.shape[2:]
    for k in range(len(P)):
        f = F_src[0, :, int(P0[k, 0]), int(P0[k, 1])]
        row, col = int(P[k, 0]), int(P[k, 1])
        if compat == "official":
            integer_window(F, row, col, r2)
        best, where = math.inf, (row, col)
        for i in range(max(0, row - r2), min(H, row + r2 + 1)):
            for j in range(max(0, col - r2), min(W, col + r2 + 1)):
                distance = (F[0, :, i, j] - f).abs().sum().item()
                if distance < best:
                    best, where = distance, (i, j)
        out[k] = torch.tensor(where, dtype=P.dtype)
    return out


class MutualProcessor:
    """Self-attention written out: queries of each element, keys and values of the first."""

    def __call__(self, attn, hidden_states, encoder_hidden_states=None, attention_mask=None, *args, **kwargs):
        B, N, _ = hidden_states.shape
        q, k, v = attn.to_q(hidden_states), attn.to_k(hidden_states), attn.to_v(hidden_states)
        k, v = k[:1].expand_as(k), v[:1].expand_as(v)
        heads = [x.reshape(B, N, attn.heads, -1).transpose(1, 2) for x in (q, k, v)]
        q, k, v = heads
        weights = (q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])).softmax(-1)
        out = (weights @ v).transpose(1, 2).reshape(B, N, -1)
        return attn.to_out[1](attn.to_out[0](out))


def switch_mutual_on(unet) -> None:
    for name, module in unet.named_modules():
        if name.endswith("attn1") and (name.startswith("up_blocks.2.") or name.startswith("up_blocks.3.")):
            module.set_processor(MutualProcessor())


def literal_edit(unet, context, alphas, z0, handles, targets, mask, s: LiteralSettings) -> LiteralResult:
    """z0 (1, C, h, w); handles, targets (n, 2) rows and columns; mask (1, 1, h, w) with 1 = may change, or None."""
    model = Diffusion(unet, context, alphas, s.prediction)
    stride, live, result = 1000 // s.steps, timesteps(s.steps, s.strength), LiteralResult()
    official = s.compat == "official"
    if mask is None and official:
        mask = torch.zeros_like(z0[:, :1])
    processors = unet.attn_processors
    try:
        with torch.no_grad():
            result.inverted = ref = invert(model, z0, live, stride)
            F_src, prev_src, y = {}, {}, ref.clone()
            for t in live[: s.t2 + 1]:
                e, F_src[t] = model.eps_and_features(y, t)
                y = prev_src[t] = model.ddim_step(e, t, y, stride)
        z, P, do_drag, unchanged, mutual_on = ref.clone(), handles.clone(), True, 0, False

        def arrived() -> bool:
            return all((target - p).norm() < s.reach for p, target in zip(P, targets, strict=True))

        for i, t in enumerate(live):
            dragged_here = False
            if (
                i < s.t2
                and do_drag
                and not (official and unchanged == s.max_unchanged)
                and not (not official and arrived())
            ):
                dragged_here = True
                L = z.clone().requires_grad_()
                optimiser = torch.optim.Adam([L], lr=s.lr, betas=(0.9, 0.999), eps=1e-8)
                first, n_track, n_since = True, 0, 0
                while n_track < s.per_denoise:
                    if not official and n_since == 0 and arrived():
                        do_drag = False
                        break
                    e, F1 = model.eps_and_features(L, t)
                    Lprev = model.ddim_step(e, t, L, stride)
                    if official and first:
                        P, first = track(F_src[t], F1.detach(), P, handles, s.r2, s.compat), False
                        result.uncounted_trackings += 1
                    if official and (arrived() or unchanged == s.max_unchanged):
                        do_drag = False
                        break
                    loss = total_loss(F1, Lprev, F_src[t], prev_src[t], P, handles, targets, mask, s)
                    optimiser.zero_grad()
                    loss.backward()
                    optimiser.step()
                    result.gradient_steps += 1
                    n_since += 1
                    if n_since == s.J:
                        old = P
                        with torch.no_grad():
                            F_now = F1.detach() if official else model.eps_and_features(L, t)[1]
                        P = track(F_src[t], F_now, P, handles, s.r2, s.compat)
                        unchanged = 0 if (P != old).any() else unchanged + 1
                        n_track, n_since = n_track + 1, 0
                        result.counted_trackings += 1
                        result.latents.append(L.detach().clone())
                        result.points.append(P.clone())
                z = L.detach()
            if not dragged_here and s.mutual and not mutual_on:
                switch_mutual_on(unet)
                mutual_on, result.mutual_from = True, i
            with torch.no_grad():
                both = model.eps(torch.cat([ref, z]), t)
                z = model.ddim_step(both[1:], t, z, stride)
                ref = model.ddim_step(both[:1], t, ref, stride)
        result.final = z
        return result
    finally:
        unet.set_attn_processor(processors)
