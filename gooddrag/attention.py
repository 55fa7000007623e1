"""Mutual self-attention: the edit looks at the source, so that textures are copied and not invented.

In the late self-attention layers the queries stay the edit's own while keys and values come from the unedited
picture at the same timestep (MasaCtrl's idea, used by DragDiffusion and GoodDrag).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from torch import Tensor, nn


@contextmanager
def recorded(layers: Sequence[nn.Module]) -> Iterator[list[Tensor]]:
    """Collect the inputs (B, tokens, channels) of the self-attention `layers`, in the order in which they run."""
    inputs: list[Tensor] = []

    def keep(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        inputs.append((args[0] if args else kwargs["hidden_states"]).detach())

    with ExitStack() as hooks:
        for layer in layers:
            hooks.callback(layer.register_forward_pre_hook(keep, with_kwargs=True).remove)
        yield inputs


@contextmanager
def mutual(layers: Sequence[nn.Module], source: Sequence[Tensor]) -> Iterator[None]:
    """Let the self-attention `layers` take keys and values from the `source` inputs that `recorded` collected.

    An attention layer computes K and V from `encoder_hidden_states` and Q from its own input; handing the source's
    input over as the former is all that mutual self-attention is.
    """

    def borrow(
        tokens: Tensor,
    ):
        def hook(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
            return args, {**kwargs, "encoder_hidden_states": tokens}

        return hook

    with ExitStack() as hooks:
        for layer, tokens in zip(layers, source, strict=True):
            hooks.callback(layer.register_forward_pre_hook(borrow(tokens), with_kwargs=True).remove)
        yield


def self_attention_layers(blocks: Sequence[nn.Module]) -> list[nn.Module]:
    """The self-attention modules (`attn1`) inside U-Net blocks, in the order in which they run."""
    return [module for block in blocks for name, module in block.named_modules() if name.endswith("attn1")]
