"""How fast networks are, side by side on the same machine."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from typing import Any

import torch
from rich.progress import track
from torch import Tensor, nn
from torch.utils.benchmark import Timer


@dataclass(frozen=True)
class Speed:
    """Images a second of one network: the median of interleaved repeats and their extremes."""

    images_per_s: float
    slowest: float
    fastest: float
    repeats: int


@torch.inference_mode()
def compare_speed(
    networks: dict[str, nn.Module], images: Tensor, repeats: int = 7, seconds: float = 0.4
) -> dict[str, Speed]:
    """Time networks on the same batch, taking turns, so that noise falls on all alike.

    Args:
        networks: By name; put into evaluation mode for the measurement.
        images: `(B, 3, S, S)` on the device of the networks.
        repeats: Turns.
        seconds: Duration of one network's turn.
    """
    modes = {name: network.training for name, network in networks.items()}
    timers = {}
    for name, network in networks.items():
        network.eval()
        scope: dict[str, Any] = {"network": network, "images": images}
        # Timer runs single-threaded unless told otherwise.
        timers[name] = Timer("network(images)", globals=scope, num_threads=torch.get_num_threads())
    # Not blocked_autorange: behind large kernels it takes its own overhead for a noisy one, and
    # runs ten times longer than asked.
    batches = {
        name: max(1, round(seconds / timer.timeit(2).mean)) for name, timer in timers.items()
    }
    rates: dict[str, list[float]] = {name: [] for name in networks}
    for _ in track(range(repeats), description="Timing", transient=True):
        for name, timer in timers.items():
            rates[name].append(len(images) / timer.timeit(batches[name]).mean)
    for name, network in networks.items():
        network.train(modes[name])
    return {n: Speed(median(r), min(r), max(r), repeats) for n, r in rates.items()}
