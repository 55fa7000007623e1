"""An identity adapter in the U-Net, for as long as an edit lasts.

One adapter is folded into the weights (no extra work per pass) and taken out again by putting the original tensors
back, so the model is left bit for bit as it was. Several, one for each picture of a batch, work beside the weights.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from gooddrag.errors import BadInput

FOLDED = "gooddrag_adapter_is_in"  # attribute of a U-Net whose weights are not its own at the moment
Weights = dict[str, Tensor]  # per attention projection: `<module>.down` (rank, in) and `<module>.up` (out, rank)


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
        for name in layers_of(weights):
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


@contextmanager
def each_with_its_own(unet: nn.Module, adapters: Sequence[Weights]) -> Iterator[None]:
    """Row b of a batch goes by adapter b while the block runs: each adapted layer adds x · downᵀ · upᵀ to its output.

    All adapters have the same layers and rank.
    """

    def beside(down: Tensor, up: Tensor) -> Any:  # (B, rank, in), (B, out, rank)
        def hook(_: nn.Module, args: tuple[Tensor, ...], out: Tensor) -> Tensor:
            return out + args[0] @ down.mT.to(out) @ up.mT.to(out)

        return hook

    with ExitStack() as hooks:
        for name in layers_of(adapters[0]):
            down, up = (torch.stack([a[f"{name}.{part}"] for a in adapters]) for part in ("down", "up"))
            hooks.callback(unet.get_submodule(name).register_forward_hook(beside(down, up)).remove)
        yield


def layers_of(weights: Weights) -> list[str]:
    """The layers that an adapter changes."""
    return sorted({name.rsplit(".", 1)[0] for name in weights})
