"""What a network costs, counted from outside: multiply-accumulates and parameters."""

from __future__ import annotations

import copy

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode


def count_gmacs(network: nn.Module, image_size: int) -> float:
    """Multiply-accumulates of one image at inference, divided by 1e9.

    Convolutions, linear layers and attention count exactly, norms and activations nothing: what
    the papers print as GFLOPs. Counted on the meta device, because on a CPU PyTorch's counter
    overlooks fused attention.

    Args:
        network: Maps images `(1, 3, S, S)` to anything; it is not changed.
        image_size: S.
    """
    shadow = copy.deepcopy(network).to("meta").eval()
    images = torch.empty(1, 3, image_size, image_size, device="meta")
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        shadow(images)
    return counter.get_total_flops() / 2 / 1e9


def count_params_m(network: nn.Module) -> float:
    """Parameters in millions."""
    return sum(parameter.numel() for parameter in network.parameters()) / 1e6
