"""Counts what a network costs, from outside: multiply-accumulates and parameters."""

from __future__ import annotations

import copy
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

Network = TypeVar("Network", bound=nn.Module)


def count_gmacs(network: nn.Module, image_size: int | tuple[int, ...]) -> float:
    """Count multiply-accumulates of one image or clip at inference, divided by 1e9.

    Convolutions, linear layers and attention count exactly, norms and activations nothing: what
    the papers print as GFLOPs. Counted on the meta device, because on a CPU PyTorch's counter
    overlooks fused attention.

    Args:
        network: Maps images `(1, C, H, W)` or clips `(1, C, T, H, W)` to anything; it is not
            changed.
        image_size: Height and width in pixels, or one number for both; of clips, the number of
            frames before them.
    """
    return count_on_meta(copy_to_meta(network), image_size)


def copy_to_meta(network: Network) -> Network:
    """Return a copy of `network` on the meta device, in evaluation mode and without values.

    It calls none of the network's hooks, which may keep what they see.
    """
    attributes = (value for part in network.modules() for value in vars(part).values())
    plain = (value for value in attributes if isinstance(value, Tensor))  # as pruning leaves them
    tensors = [*network.parameters(), *network.buffers(), *plain]
    shadow = copy.deepcopy(network, {id(tensor): _shadow(tensor) for tensor in tensors})
    for part in shadow.modules():
        part._forward_hooks.clear()
        part._forward_pre_hooks.clear()
    return shadow.to("meta").eval()


def count_on_meta(shadow: nn.Module, image_size: int | tuple[int, ...]) -> float:
    """Count as `count_gmacs` does what `copy_to_meta` has returned."""
    sides = (image_size, image_size) if isinstance(image_size, int) else image_size
    shape = (1, input_channels(shadow), *sides)
    images = torch.empty(shape, device="meta", dtype=torch.float32)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        shadow.float()(images)  # as many in any precision
    return counter.get_total_flops() / 2 / 1e9


def input_channels(network: nn.Module) -> int:
    """Count the channels of the images that `network` takes.

    The first of its parts that has `in_chans` or is a convolution says so; without one it is 3.
    """
    for part in network.modules():
        convolves = isinstance(part, (nn.Conv2d, nn.Conv3d))
        channels = part.in_channels if convolves else getattr(part, "in_chans", None)
        if isinstance(channels, int):
            return channels
    return 3


def _shadow(tensor: Tensor) -> Tensor:
    """Return a tensor without values, so that a network is copied without its weights."""
    shadow = torch.empty_like(tensor, device="meta")
    if isinstance(tensor, nn.Parameter):
        return nn.Parameter(shadow, requires_grad=tensor.requires_grad)
    return shadow


def count_params_m(network: nn.Module) -> float:
    """Count parameters, in millions."""
    return sum(parameter.numel() for parameter in network.parameters()) / 1e6
