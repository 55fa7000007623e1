"""Identity fine-tuning: a low-rank adapter teaches the U-Net the one picture that is about to be edited.

Training uses peft. For the edit the adapter is folded into the weights (no extra work per pass) and taken out again
by putting the original tensors back, so the model is left bit for bit as it was.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import contextmanager

import torch
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from gooddrag import cache
from gooddrag.backbone import Backbone
from gooddrag.errors import BadInput
from gooddrag.methods import LoraSettings

TARGETS = ("to_q", "to_k", "to_v", "to_out.0")
ADAPTER = "identity"
FOLDED = "gooddrag_adapter_is_in"  # attribute of a U-Net whose weights are not its own at the moment
Weights = dict[str, Tensor]  # per attention projection: `<module>.down` (rank, in) and `<module>.up` (out, rank)


def identity_key(backbone: Backbone, z0: Tensor, settings: LoraSettings, seed: int) -> str:
    """Name of the adapter in the cache: the same picture, model, settings and seed find it again."""
    return cache.content_key("lora", backbone.fingerprint, z0, settings.model_dump(), seed)


def train_identity(
    backbone: Backbone, z0: Tensor, settings: LoraSettings, seed: int = 0
) -> Generator[float | Weights, None, None]:
    """Fine-tune on one latent z0 (1, C, h, w): yields the loss of each step, at last the adapter's weights.

    Each step asks for the model's own training loss at random timesteps on random square windows of the latent (the
    whole latent where it is square), so the network keeps the aspect it was trained on. A backbone whose memory is
    "low" sees the windows of a step one by one and adds their gradients up. Closing the generator early removes the
    adapter.
    """
    unet, side = backbone.unet, min(z0.shape[2:])
    together = 1 if backbone.memory == "low" else settings.batch
    chance = torch.Generator().manual_seed(seed)
    config = LoraConfig(
        r=settings.rank, lora_alpha=settings.rank, init_lora_weights="gaussian", target_modules=list(TARGETS)
    )
    alphas = torch.tensor(backbone.alphas, device=z0.device, dtype=z0.dtype)
    try:
        with torch.random.fork_rng():  # peft draws the start weights from the global generator
            torch.manual_seed(seed)
            unet.add_adapter(config, adapter_name=ADAPTER)
        trained = [p for p in unet.parameters() if p.requires_grad]
        for p in trained:
            p.data = p.data.float()
        optimiser = torch.optim.AdamW(trained, lr=settings.lr, weight_decay=1e-2)
        for _ in range(settings.steps):
            z = torch.cat([_random_window(z0, side, chance) for _ in range(settings.batch)])
            t = torch.randint(len(alphas), (settings.batch,), generator=chance).to(z0.device)
            noise = torch.randn(z.shape, generator=chance).to(z0)
            level = alphas[t].reshape(-1, 1, 1, 1)
            noisy = level.sqrt() * z + (1 - level).sqrt() * noise
            optimiser.zero_grad()
            total = 0.0
            for part in zip(*(each.split(together) for each in (noisy, z, noise, t)), strict=True):
                with torch.autocast(z0.device.type, unet.dtype, enabled=unet.dtype != torch.float32):
                    loss = _loss(backbone, *part) * (len(part[0]) / settings.batch)
                loss.backward()
                total += loss.item()
            optimiser.step()
            yield total
        state = get_peft_model_state_dict(unet, adapter_name=ADAPTER)
        weights = {_short(name): value.detach().float().clone() for name, value in state.items()}
    finally:
        unet.unload_lora()
        unet.requires_grad_(False)
    yield weights


def _loss(backbone: Backbone, noisy: Tensor, z: Tensor, noise: Tensor, t: Tensor) -> Tensor:
    return mse_loss(backbone.raw_predict(noisy, t), backbone.right_answer(z, noise, t))


def _random_window(z: Tensor, side: int, chance: torch.Generator) -> Tensor:
    top, left = (int(torch.randint(s - side + 1, (1,), generator=chance)) for s in z.shape[2:])
    return z[..., top : top + side, left : left + side]


def _short(name: str) -> str:
    """peft's parameter names → `<module>.down`, `<module>.up`."""
    return name.replace(".lora_A.weight", ".down").replace(".lora_B.weight", ".up")


@contextmanager
def applied(unet: nn.Module, weights: Weights, scale: float = 1.0) -> Iterator[None]:
    """The U-Net with its adapter while the block runs; afterwards it is bit for bit as it was.

    One adapter at a time: raises BadInput where there is one already.
    """
    refuse_adapted(unet)
    try:
        setattr(unet, FOLDED, bool(weights))
        with folded(unet, weights, scale):
            yield
    finally:
        setattr(unet, FOLDED, False)


@contextmanager
def folded(unet: nn.Module, weights: Weights, scale: float) -> Iterator[None]:
    """Fold W ← W + scale · up · down into each adapted layer while the block runs, then put the former tensors back.

    Inside of `applied` it weakens (scale < 0) or strengthens the adapter for a while.
    """
    originals: list[tuple[nn.Parameter, Tensor]] = []
    try:
        for name in sorted({n.rsplit(".", 1)[0] for n in weights}):
            parameter = unet.get_parameter(f"{name}.weight")
            original = parameter.data
            originals.append((parameter, original))
            change = weights[f"{name}.up"].to(parameter.device) @ weights[f"{name}.down"].to(parameter.device)
            exact = torch.promote_types(parameter.dtype, torch.float32)
            parameter.data = (original.to(exact) + scale * change).to(original.dtype)
        yield
    finally:
        for parameter, original in originals:
            parameter.data = original


def refuse_adapted(unet: nn.Module) -> None:
    """Raise BadInput while another edit's adapter is in the model: what one would learn from it now would be wrong."""
    if getattr(unet, FOLDED, False):
        raise BadInput(
            "This engine is at work on another edit: let that come to its end, stop it, or close its stream of steps."
        )
