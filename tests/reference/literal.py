"""GoodDrag, slowly and literally: a second opinion for checking a faster engine.

Every map is held at full size, every handle has its own turn in a Python loop, and nothing is shared or saved that the
specification does not save. It was written from the specification (shared/algorithm.md) alone; the section and quirk
numbers in the comments are those of that text.

Symbols: z, L latents (1, C, h, w); F feature maps (1, c, Hf, Wf), half the picture's size; P, P0 tracked and original
handles (n, 2); d a step vector (2,). Points are (row, col) in cells of the feature grid. How picture, points and mask
come onto the grids, and how the picture is made in the end, is in `literal_pipeline.py`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional

TRAIN_TIMESTEPS = 1000
GRID = 4  # feature cells per latent cell: the latent is 1/8 of the picture, the feature grid 1/2
OFFICIAL_LOSS_THRESHOLD = 0.0  # "track now" below this loss: the official value, so only a loss of exactly 0 does it

# (latent, timestep) -> (eps like the latent, features on the full grid)
Predict = Callable[[Tensor, int], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class LiteralSettings:
    """What an edit depends on; lengths are in feature cells."""

    steps: int = 50  # N
    strength: float = 0.75  # round(strength * steps) timesteps are live
    t2: int = 7  # timesteps with drags
    per_denoise: int = 10  # B, drag operations per dragged timestep
    J: int = 3  # gradient steps per drag operation
    r1: int = 4
    r2: int = 12
    beta: float = 4.0
    lr: float = 0.02
    lam: float = 0.1
    reach: float = 2.0
    supervision: str = "ipms"  # or "standard"
    compat: str = "paper"  # or "official"
    max_unchanged: int | None = 5  # only "official" counts
    mutual: bool = True

    def __post_init__(self) -> None:
        if self.supervision not in ("ipms", "standard"):
            raise ValueError(f"unknown supervision {self.supervision!r}")
        if self.compat not in ("paper", "official"):
            raise ValueError(f"unknown compat {self.compat!r}")


@dataclass(frozen=True)
class LiteralResult:
    """What an edit gave; `latents` and `points` have one entry per drag operation."""

    latents: list[Tensor]  # each (1, C, h, w)
    points: list[Tensor]  # each (n, 2)
    final: Tensor  # (1, C, h, w)
    inverted: Tensor  # (1, C, h, w)
    gradient_steps: int
    counted_trackings: int
    uncounted_trackings: int
    mutual_from: int | None  # index in the live timesteps


@dataclass
class DragState:
    """What changes while dragging and outlives a timestep."""

    points: Tensor  # (n, 2)
    dragging: bool = True
    unchanged: int = 0  # trackings in a row in which no handle moved (Q17)
    gradient_steps: int = 0
    counted: int = 0
    uncounted: int = 0
    latents: list[Tensor] = field(default_factory=list)
    path: list[Tensor] = field(default_factory=list)

    def record(self, latent: Tensor) -> None:
        """Note the end of a drag operation."""
        self.counted += 1
        self.latents.append(latent.detach().clone())
        self.path.append(self.points.clone())


# ---------------------------------------------------------------------------------------- schedule and DDIM (1.1, 1.4)


def timestep_stride(steps: int) -> int:
    """Training timesteps per step."""
    return TRAIN_TIMESTEPS // steps


def live_timesteps(steps: int, strength: float) -> list[int]:
    """The timesteps that the edit runs through, noisiest first; 50 and 0.75 give the 38 from 741 to 1."""
    stride = timestep_stride(steps)
    all_timesteps = [1 + stride * k for k in range(steps)]
    all_timesteps.reverse()
    n_act = round(strength * steps)  # half to even: 37.5 -> 38
    return all_timesteps[steps - n_act :]


def abar(alphas_cumprod: Tensor | Sequence[float], t: int) -> float:
    """Cumulative alpha of a timestep; a negative timestep counts as timestep 0."""
    if t < 0:
        return float(alphas_cumprod[0])
    return float(alphas_cumprod[t])


def ddim_move(eps: Tensor, z: Tensor, abar_from: float, abar_to: float) -> Tensor:
    """Take z from one noise level to another, eta 0, up or down alike."""
    x0 = (z - math.sqrt(1 - abar_from) * eps) / math.sqrt(abar_from)
    return math.sqrt(abar_to) * x0 + math.sqrt(1 - abar_to) * eps


def ddim_step(eps: Tensor, t: int, z: Tensor, alphas_cumprod: Tensor | Sequence[float], stride: int) -> Tensor:
    """One denoise step, from level t to level t - stride."""
    return ddim_move(eps, z, abar(alphas_cumprod, t), abar(alphas_cumprod, t - stride))


def invert(
    predict_eps: Callable[[Tensor, int], Tensor],
    z0: Tensor,
    live: list[int],
    alphas_cumprod: Tensor | Sequence[float],
    stride: int,
) -> Tensor:
    """Take the clean latent up to the level of the first live timestep (1.4)."""
    z = z0
    for t in reversed(live):
        eps = predict_eps(z, t)  # the U-Net is told the level that z goes to, not the one it is at
        z = ddim_move(eps, z, abar(alphas_cumprod, t - stride), abar(alphas_cumprod, t))
    return z


# -------------------------------------------------------------------------------------------- U-Net and features (1.5)


def to_eps(output: Tensor, z: Tensor, abar_t: float, prediction_type: str) -> Tensor:
    """The noise that the U-Net's output stands for."""
    if prediction_type == "epsilon":
        return output
    if prediction_type == "v_prediction":
        return math.sqrt(abar_t) * output + math.sqrt(1 - abar_t) * z
    raise ValueError(f"unknown prediction type {prediction_type!r}")


def run_unet(
    unet: nn.Module, z: Tensor, t: int, context: Tensor, feature_block: int, grid: tuple[int, int] | None = None
) -> tuple[Tensor, Tensor]:
    """Run the U-Net once.

    Parameters
    ----------
    z : Tensor
        (b, C, h, w).
    context : Tensor
        (1, T, D), the same for each element of the batch.
    grid : tuple of int, optional
        (Hf, Wf), the feature grid's size; (4h, 4w) unless it is given.

    Returns
    -------
    tuple of Tensor
        The U-Net's output (b, C, h, w), and what `up_blocks[feature_block]` gave, resized to (b, c, Hf, Wf).
    """
    caught = []
    hook = unet.up_blocks[feature_block].register_forward_hook(lambda _module, _inputs, output: caught.append(output))
    try:
        contexts = torch.cat([context] * z.shape[0])
        output = unet(z, torch.tensor(t, device=z.device), encoder_hidden_states=contexts).sample
    finally:
        hook.remove()
    (native,) = caught
    size = grid or (GRID * z.shape[2], GRID * z.shape[3])
    return output, functional.interpolate(native, size=size, mode="bilinear", align_corners=False)


# -------------------------------------------------------------------------------------------- motion supervision (1.9)


def distance(p: Tensor, target: Tensor) -> float:
    """Straight-line distance of two points, each (2,)."""
    return math.hypot(float(target[0] - p[0]), float(target[1] - p[1]))


def all_reached(P: Tensor, targets: Tensor, reach: float) -> bool:
    """Whether every handle is nearer than `reach` to its target."""
    return all(distance(p, target) < reach for p, target in zip(P, targets, strict=True))


def step_vector(p: Tensor, target: Tensor, beta: float) -> Tensor:
    """Unit vector towards the target times min(beta, distance), (2,) (Q2, in both modes)."""
    far = distance(p, target)
    if far == 0:
        return torch.zeros_like(p)
    return (target - p) / far * min(beta, far)


def window(F: Tensor, row: int, col: int, radius: int) -> Tensor:
    """Square window (c, 2 radius + 1, 2 radius + 1) of F around an integer cell; it must lie on the map (Q8)."""
    Hf, Wf = F.shape[2:]
    if row - radius < 0 or col - radius < 0 or row + radius >= Hf or col + radius >= Wf:
        raise RuntimeError(f"window of radius {radius} around ({row}, {col}) leaves the {Hf} x {Wf} map")
    return F[0, :, row - radius : row + radius + 1, col - radius : col + radius + 1]


def fractional_window(F: Tensor, row: float, col: float, radius: int) -> Tensor:
    """Window around a real-valued point: four integer windows, blended with one weight pair for all of the patch."""
    row0, col0 = math.floor(row), math.floor(col)
    v, u = row - row0, col - col0
    return (
        (1 - v) * (1 - u) * window(F, row0, col0, radius)
        + (1 - v) * u * window(F, row0, col0 + 1, radius)
        + v * (1 - u) * window(F, row0 + 1, col0, radius)
        + v * u * window(F, row0 + 1, col0 + 1, radius)
    )


def official_patch_loss(A_map: Tensor, a: Tensor, B_map: Tensor, b: Tensor, r1: int) -> Tensor:
    """Term of one handle in the published code: (2 r1)^2 times the mean absolute difference (Q1).

    Parameters
    ----------
    A_map, B_map : Tensor
        (1, c, Hf, Wf), the reference (without gradient) and the map that is edited.
    a, b : Tensor
        (2,), the window's centres: `int(a)` on the reference, real-valued b = p + d on the other.
    """
    A = window(A_map, int(a[0]), int(a[1]), r1)
    B = fractional_window(B_map, float(b[0]), float(b[1]), r1)
    return (2 * r1) ** 2 * (A - B).abs().mean()


def inside(row: float, col: float, F: Tensor) -> bool:
    """Whether a point lies on the map, its last row and column included."""
    return 0 <= row <= F.shape[2] - 1 and 0 <= col <= F.shape[3] - 1


def sample_bilinear(F: Tensor, points: list[tuple[float, float]]) -> Tensor:
    """Values of F at real-valued points on the map, (c, number of points)."""
    Hf, Wf = F.shape[2:]
    rows0 = [math.floor(row) for row, _ in points]
    cols0 = [math.floor(col) for _, col in points]
    # On the last row or column the neighbour beyond has weight 0, so any cell may stand in for it.
    rows1 = [min(row + 1, Hf - 1) for row in rows0]
    cols1 = [min(col + 1, Wf - 1) for col in cols0]
    v = torch.tensor([row - row0 for (row, _), row0 in zip(points, rows0, strict=True)], dtype=F.dtype, device=F.device)
    u = torch.tensor([col - col0 for (_, col), col0 in zip(points, cols0, strict=True)], dtype=F.dtype, device=F.device)

    def index(cells: list[int]) -> Tensor:
        return torch.tensor(cells, dtype=torch.long, device=F.device)

    def cells(rows: list[int], cols: list[int]) -> Tensor:
        return F[0][:, index(rows), index(cols)]

    return (
        (1 - v) * (1 - u) * cells(rows0, cols0)
        + (1 - v) * u * cells(rows0, cols1)
        + v * (1 - u) * cells(rows1, cols0)
        + v * u * cells(rows1, cols1)
    )


def paper_patch_loss(A_map: Tensor, a: Tensor, B_map: Tensor, b: Tensor, r1: int) -> Tensor:
    """Term of one handle in the clean version: sum over the window of the mean over channels of |A - B|.

    Positions whose point on either map lies off that map are left out. Parameters as in `official_patch_loss`.
    """
    a_points, b_points = [], []
    for row in range(-r1, r1 + 1):
        for col in range(-r1, r1 + 1):
            a_point = (float(int(a[0]) + row), float(int(a[1]) + col))
            b_point = (float(b[0]) + row, float(b[1]) + col)
            if inside(*a_point, A_map) and inside(*b_point, B_map):
                a_points.append(a_point)
                b_points.append(b_point)
    A = sample_bilinear(A_map, a_points)
    B = sample_bilinear(B_map, b_points)
    return (A - B).abs().mean(dim=0).sum()


def drag_loss(F_src: Tensor, F: Tensor, P: Tensor, P0: Tensor, targets: Tensor, settings: LiteralSettings) -> Tensor:
    """Sum of the terms of all handles that have not reached their targets; a scalar."""
    total = F.new_zeros(())
    for p, p0, target in zip(P, P0, targets, strict=True):
        if distance(p, target) < settings.reach:
            continue
        if settings.supervision == "ipms":  # what the picture had at the original handle, before any edit
            A_map, a = F_src, p0
        else:  # what the edit has at the handle now
            A_map, a = F.detach(), p
        b = p + step_vector(p, target, settings.beta)
        if settings.compat == "official":
            total = total + official_patch_loss(A_map, a, F, b, settings.r1)
        else:
            total = total + paper_patch_loss(A_map, a, F, b, settings.r1)
    return total


def keep_area(mask: Tensor | None, z: Tensor, compat: str) -> Tensor | None:
    """1 - mask, (1, 1, h, w), or None for no mask term."""
    if compat == "official":
        if mask is None:
            mask = torch.zeros_like(z[:, :1])  # Q6: no mask means that all of the picture is to be kept
        return 1 - mask.to(z)
    if mask is None or not bool((mask > 0).any()):  # the clean side of Q6: an empty mask is no mask
        return None
    return 1 - mask.to(z)


def mask_loss(prev: Tensor, prev_src: Tensor, keep: Tensor) -> Tensor:
    """Summed absolute change of the stepped latent where the picture is to be kept (Q7); a scalar."""
    return ((prev - prev_src) * keep).abs().sum()


# ----------------------------------------------------------------------------------------------- point tracking (1.10)


def track(F_src: Tensor, F: Tensor, P: Tensor, P0: Tensor, r2: int, compat: str) -> Tensor:
    """Find each handle's original feature vector again, near where the handle was.

    Parameters
    ----------
    F_src, F : Tensor
        (1, c, Hf, Wf), source features and those to search.
    P, P0 : Tensor
        (n, 2), where the handles were last and where they began.
    compat : str
        "official" raises RuntimeError if a window begins before the map (Q8), as that slice is empty; beyond the map's
        end slices are cut, and so they are in "paper" on all sides.

    Returns
    -------
    Tensor
        (n, 2), new points.
    """
    Hf, Wf = F.shape[2:]
    found = P.clone()
    for k in range(len(P)):
        f = F_src[0, :, int(P0[k, 0]), int(P0[k, 1])]
        row, col = int(P[k, 0]), int(P[k, 1])
        if compat == "official" and (row < r2 or col < r2):
            raise RuntimeError(f"window of radius {r2} around ({row}, {col}) begins before the map")
        top, left = max(0, row - r2), max(0, col - r2)
        bottom, right = min(Hf - 1, row + r2), min(Wf - 1, col + r2)
        best = math.inf
        for r in range(top, bottom + 1):  # row-major, and "less than" lets the first of equals win
            differences = (F[0, :, r, left : right + 1] - f[:, None]).abs().sum(dim=0).tolist()
            for c, difference in enumerate(differences, start=left):
                if difference < best:
                    best = difference
                    found[k, 0], found[k, 1] = r, c
    return found


# ---------------------------------------------------------------------------------------- mutual self-attention (1.11)


class MutualSelfAttention:
    """Attention processor in which all elements of a batch look at the first one."""

    def __call__(
        self,
        attn: nn.Module,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        temb: Tensor | None = None,
    ) -> Tensor:
        """Attend; hidden_states and the result are (b, tokens, channels)."""
        if encoder_hidden_states is not None or attention_mask is not None or hidden_states.ndim != 3:
            raise RuntimeError("mutual attention is for the self-attention of transformer blocks")
        b, tokens, _ = hidden_states.shape
        reference = torch.cat([hidden_states[:1]] * b)
        q = attn.to_q(hidden_states)
        k = attn.to_k(reference)
        v = attn.to_v(reference)
        size = q.shape[-1] // attn.heads
        # (b, tokens, heads * size) -> (b, heads, tokens, size)
        q, k, v = (x.reshape(b, tokens, attn.heads, size).permute(0, 2, 1, 3) for x in (q, k, v))
        weights = torch.softmax(q @ k.transpose(2, 3) / math.sqrt(size), dim=3)  # (b, heads, tokens, tokens)
        out = (weights @ v).permute(0, 2, 1, 3).reshape(b, tokens, attn.heads * size)
        for layer in attn.to_out:  # projection, dropout
            out = layer(out)
        return out


def self_attentions(block: nn.Module) -> list[nn.Module]:
    """Self-attention modules of a block's transformers, as they are executed."""
    return [module for name, module in block.named_modules() if name.split(".")[-1] == "attn1"]


def numbered_self_attentions(unet: nn.Module) -> list[nn.Module]:
    """All self-attention modules in the order of execution: down, middle, up."""
    blocks = [*unet.down_blocks, *([] if unet.mid_block is None else [unet.mid_block]), *unet.up_blocks]
    return [module for block in blocks for module in self_attentions(block)]


def mutual_modules(unet: nn.Module, feature_block: int) -> list[nn.Module]:
    """Those that become mutual: from the feature block on, which is start layer 10 in Stable Diffusion 1.5."""
    everything = numbered_self_attentions(unet)
    late = sum(len(self_attentions(block)) for block in list(unet.up_blocks)[feature_block:])
    start_layer = len(everything) - late
    return everything[start_layer:]


def run_mutually(
    unet: nn.Module, feature_block: int, call: Callable[[], tuple[Tensor, Tensor]]
) -> tuple[Tensor, Tensor]:
    """Make a call of the U-Net with mutual self-attention; afterwards everything is as it was."""
    modules = mutual_modules(unet, feature_block)
    before = [module.processor for module in modules]
    try:
        for module in modules:
            module.set_processor(MutualSelfAttention())
        return call()
    finally:
        for module, processor in zip(modules, before, strict=True):
            module.set_processor(processor)


# ------------------------------------------------------------------------------------------- drags of a timestep (1.8)


def gradient_step(L: Tensor, adam: torch.optim.Adam, loss: Tensor) -> None:
    """Change L by one step of Adam; where the weights are not frozen, they collect gradients nobody uses (Q11)."""
    adam.zero_grad()
    loss.backward()
    adam.step()


def total_loss(
    drag: Tensor, L: Tensor, eps: Tensor, prev_src: Tensor, keep: Tensor | None, lam: float, step: Callable
) -> Tensor:
    """Drag loss plus lam times the mask term at the next noise level."""
    if keep is None:
        return drag
    return drag + lam * mask_loss(step(eps, L), prev_src, keep)


def new_adam(L: Tensor, lr: float) -> torch.optim.Adam:
    """A new optimiser; every dragged timestep has its own (Q10)."""
    return torch.optim.Adam([L], lr=lr, betas=(0.9, 0.999), eps=1e-8, weight_decay=0)


def drag_official(
    predict: Callable[[Tensor], tuple[Tensor, Tensor]],
    step: Callable[[Tensor, Tensor], Tensor],
    z: Tensor,
    F_src: Tensor,
    prev_src: Tensor,
    state: DragState,
    P0: Tensor,
    targets: Tensor,
    keep: Tensor | None,
    settings: LiteralSettings,
) -> Tensor:
    """Drag at one timestep as the published code does (1.8, with Q3, Q4, Q16, Q17); gives the new latent.

    `predict(L)` and `step(eps, L)` are the U-Net and the DDIM step of this timestep.
    """
    s = settings
    L = z.detach().clone().requires_grad_()
    adam = new_adam(L, s.lr)
    first, n_track, n_since = True, 0, 0
    while n_track < s.per_denoise:
        eps, F = predict(L)
        if first:  # Q4: look for the handles once more after the denoise step; not counted
            state.points = track(F_src, F.detach(), state.points, P0, s.r2, s.compat)
            state.uncounted += 1
            first = False
        if all_reached(state.points, targets, s.reach):
            state.dragging = False
            break
        if state.unchanged == s.max_unchanged:
            state.dragging = False
            break
        drag = drag_loss(F_src, F, state.points, P0, targets, s)
        gradient_step(L, adam, total_loss(drag, L, eps, prev_src, keep, s.lam, step))
        state.gradient_steps += 1
        n_since += 1
        if n_since == s.J or drag.item() <= OFFICIAL_LOSS_THRESHOLD * (2 * s.r1) ** 2:
            old = state.points
            # Q3: F is from before the gradient step just made
            state.points = track(F_src, F.detach(), old, P0, s.r2, s.compat)
            moved = bool((state.points != old).any())
            state.unchanged = 0 if moved else state.unchanged + 1
            state.record(L)
            n_track += 1
            n_since = 0
    return L.detach()


def drag_paper(
    predict: Callable[[Tensor], tuple[Tensor, Tensor]],
    step: Callable[[Tensor, Tensor], Tensor],
    z: Tensor,
    F_src: Tensor,
    prev_src: Tensor,
    state: DragState,
    P0: Tensor,
    targets: Tensor,
    keep: Tensor | None,
    settings: LiteralSettings,
) -> Tensor:
    """Drag at one timestep, the clean version: J gradient steps, then a look at what they led to."""
    s = settings
    L = z.detach().clone().requires_grad_()
    adam = new_adam(L, s.lr)
    for _ in range(s.per_denoise):
        if all_reached(state.points, targets, s.reach):
            state.dragging = False
            break
        for _ in range(s.J):
            eps, F = predict(L)
            drag = drag_loss(F_src, F, state.points, P0, targets, s)
            gradient_step(L, adam, total_loss(drag, L, eps, prev_src, keep, s.lam, step))
            state.gradient_steps += 1
        with torch.no_grad():
            _, F = predict(L)
        state.points = track(F_src, F, state.points, P0, s.r2, s.compat)
        state.record(L)
    return L.detach()


# ------------------------------------------------------------------------------------------------- the edit (1.6, 1.7)


def source_cache(predict: Predict, step: Callable, z: Tensor, live: list[int], t2: int) -> dict:
    """Denoise the inverted latent, unedited: {t: (features at t, latent stepped from t)}, first t2 + 1 timesteps."""
    cache = {}
    y = z
    for i, t in enumerate(live):
        if i <= t2:
            eps, F = predict(y, t)
            y = step(eps, t, y)
            cache[t] = (F, y)
    return cache


def literal_edit(
    unet: nn.Module,
    context: Tensor,
    alphas_cumprod: Tensor | Sequence[float],
    z0: Tensor,
    handles: Tensor,
    targets: Tensor,
    mask: Tensor | None,
    settings: LiteralSettings,
    feature_block: int = 2,
    prediction_type: str = "epsilon",
    grid: tuple[int, int] | None = None,
) -> LiteralResult:
    """Edit a latent by dragging.

    Parameters
    ----------
    unet : nn.Module
        A diffusers `UNet2DConditionModel`.
    context : Tensor
        (1, T, D), the text's hidden states, used in every call.
    alphas_cumprod : Tensor or sequence of float
        (1000,).
    z0 : Tensor
        (1, C, h, w), the picture's latent; its dtype is that of all work.
    handles, targets : Tensor
        (n, 2), (row, col) cells of the feature grid, integers as floats.
    mask : Tensor or None
        (1, 1, h, w), 1 where the picture may change.
    settings : LiteralSettings
        Everything else.
    feature_block : int
        Which of the U-Net's up blocks gives the features; mutual self-attention begins there too.
    prediction_type : str
        "epsilon" or "v_prediction".
    grid : tuple of int, optional
        (Hf, Wf), the feature grid's size; (4h, 4w) unless it is given.

    Returns
    -------
    LiteralResult
        Latents and points after each drag operation, the last latent, and counts.
    """
    s = settings
    stride = timestep_stride(s.steps)
    live = live_timesteps(s.steps, s.strength)
    keep = keep_area(mask, z0, s.compat)
    drag_at_timestep = drag_official if s.compat == "official" else drag_paper

    def predict(z: Tensor, t: int) -> tuple[Tensor, Tensor]:
        output, F = run_unet(unet, z, t, context, feature_block, grid)
        # v is read at the level that the U-Net was told, in inversion too
        return to_eps(output, z, abar(alphas_cumprod, t), prediction_type), F

    def step(eps: Tensor, t: int, z: Tensor) -> Tensor:
        return ddim_step(eps, t, z, alphas_cumprod, stride)

    with torch.no_grad():
        inverted = invert(lambda z, t: predict(z, t)[0], z0, live, alphas_cumprod, stride)
        cache = source_cache(predict, step, inverted, live, s.t2)

    P0 = handles.clone()
    state = DragState(points=handles.clone())
    z = ref = inverted
    mutual_from = None
    for i, t in enumerate(live):
        stopped = not state.dragging or (s.compat == "official" and state.unchanged == s.max_unchanged)
        dragged = False
        if i < s.t2 and not stopped:
            F_src, prev_src = cache[t]
            begun = len(state.path)
            z = drag_at_timestep(
                lambda L, t=t: predict(L, t),
                lambda eps, L, t=t: step(eps, t, L),
                z,
                F_src,
                prev_src,
                state,
                P0,
                targets,
                keep,
                s,
            )
            # The published code leaves attention plain wherever it went in to drag, even if it found nothing to do;
            # the clean version only where a drag operation was begun.
            dragged = s.compat == "official" or len(state.path) > begun
        if s.mutual and not dragged and mutual_from is None:
            mutual_from = i

        pair = torch.cat([ref, z])  # the reference must be first
        with torch.no_grad():
            if mutual_from is None:
                eps, _ = predict(pair, t)
            else:
                eps, _ = run_mutually(unet, feature_block, lambda pair=pair, t=t: predict(pair, t))
            ref = step(eps[:1], t, ref)
            z = step(eps[1:], t, z)

    return LiteralResult(
        latents=state.latents,
        points=state.path,
        final=z,
        inverted=inverted,
        gradient_steps=state.gradient_steps,
        counted_trackings=state.counted,
        uncounted_trackings=state.uncounted,
        mutual_from=mutual_from,
    )
