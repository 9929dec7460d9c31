"""Times all networks in turns, and measures their memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from ...measure.memory import peak_memory_mb
from ...measure.throughput import Speed, compare_speed


@dataclass(frozen=True)
class Timing:
    """Holds the measurements of one network, from the same turns as those of the others.

    Attributes:
        many: Images per second in batches.
        single: Images per second one by one.
        memory_mb: Peak memory of a batch, beyond weights and images.
    """

    many: Speed
    single: Speed
    memory_mb: float


def time_networks(
    networks: Mapping[str, nn.Module], batches: Sequence[Tensor], repeats: int, seconds: float
) -> dict[str, Timing]:
    """Time `networks` by name in batches and one image at a time, all of them in turns.

    Args:
        networks: In evaluation mode, on the device of the images.
        batches: Images `(B, 3, S, S)`; they must be real, since some methods keep as many tokens as
            an image needs.
        repeats: Number of turns.
        seconds: Duration of one network's turn, at least one batch.
    """
    networks = dict(networks)
    single = [image[None] for image in batches[0][:4]]
    one_by_one = compare_speed(networks, single, repeats, seconds)
    many = compare_speed(networks, batches, repeats, seconds)
    with torch.inference_mode():
        memory = {
            name: peak_memory_mb(partial(network, batches[0]), batches[0].device)
            for name, network in networks.items()
        }
    return {name: Timing(many[name], one_by_one[name], memory[name]) for name in networks}
