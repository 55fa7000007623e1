"""Identity fine-tuning: a low-rank adapter teaches the U-Net the one picture that is about to be edited.

Training uses peft. How the adapter then gets into the model, and out of it, is in `adapter.py`.
"""

from __future__ import annotations

from collections.abc import Generator

import torch
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict
from torch import Tensor
from torch.nn.functional import mse_loss

from gooddrag import cache
from gooddrag.adapter import Weights
from gooddrag.backbone import Backbone
from gooddrag.methods import LoraSettings

TARGETS = ("to_q", "to_k", "to_v", "to_out.0")
ADAPTER = "identity"


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
