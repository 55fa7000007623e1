"""What several test rooms share."""

import os

import pytest
import torch

os.environ.setdefault("HF_HUB_OFFLINE", "1")


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory):
    """Tests neither read nor fill the user's cache."""
    os.environ["GOODDRAG_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def pocket():
    """The engine that this repository ships."""
    from gooddrag.backbone import load_backbone

    return load_backbone("pocket", device="cpu")


def make_tiny_backbone(dtype: torch.dtype = torch.float32, prediction: str = "epsilon", seed: int = 0):
    """A random U-Net of pocket's shape, small enough for quick edits: 64 px pictures, latents (4, 16, 16)."""
    from gooddrag.backbone import Backbone
    from gooddrag.pocket.codec import PatchCodec
    from gooddrag.pocket.train import build_unet, noise_schedule

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        unet = build_unet(16, 4, (8, 16, 16, 16)).to(dtype)
        codec = PatchCodec.fit(torch.rand(8, 3, 64, 64) * 2 - 1, channels=4)
        context = torch.randn(1, 8, 64, dtype=dtype)
    if dtype == torch.float64:
        codec = PatchCodec(codec.basis.double(), codec.mean.double(), codec.scale.double())
    alphas = tuple(noise_schedule().alphas_cumprod.double().tolist())
    return Backbone("tiny", unet, codec, context, alphas, prediction, 4, 4, working_side=64)


@pytest.fixture
def tiny():
    return make_tiny_backbone()


@pytest.fixture
def task():
    """Two drags on a small noisy picture, half of which may change."""
    import numpy as np

    from gooddrag.task import DragTask

    picture = np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8)
    mask = np.zeros((64, 64), bool)
    mask[8:56, 8:56] = True
    return DragTask(picture, [(24, 30), (40, 28)], [(34, 30), (40, 40)], mask, "noise")


@pytest.fixture
def quick():
    """GoodDrag, cut short: 10 timesteps, 4 drags, no adapter."""
    from gooddrag.methods import GoodDrag

    return GoodDrag(steps=10, strength=0.8, drags=4, per_denoise=2, supervision_steps=2, r1=2, r2=4, lora=None)
