"""How fast networks are, side by side on the same machine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import cycle
from statistics import median
from typing import Any

import torch
from rich.progress import track
from torch import Tensor, nn
from torch.utils.benchmark import Timer


@dataclass(frozen=True)
class Speed:
    """Images a second of one network, turn by turn."""

    rates: tuple[float, ...]

    @property
    def images_per_s(self) -> float:
        """The median."""
        return median(self.rates)

    def over(self, other: Speed) -> tuple[float, float, float]:
        """How many times as fast as `other` in the same turns: median, least and most."""
        ratios = [mine / theirs for mine, theirs in zip(self.rates, other.rates, strict=True)]
        return median(ratios), min(ratios), max(ratios)


def compare_speed(
    networks: dict[str, nn.Module],
    batches: Sequence[Tensor],
    repeats: int = 7,
    seconds: float = 0.4,
) -> dict[str, Speed]:
    """Time the inference of networks in turns, so that noise falls on all alike.

    Args:
        networks: By name; put into evaluation mode for the measurement.
        batches: Inputs `(B, 3, S, S)` on the device of the networks, taken one after the other.
        repeats: Turns.
        seconds: Duration of one network's turn.
    """
    modes = {name: network.training for name, network in networks.items()}
    calls = {name: _call(network.eval(), batches) for name, network in networks.items()}
    with torch.inference_mode():
        times = take_turns(calls, repeats, seconds)
    for name, network in networks.items():
        network.train(modes[name])
    images = len(batches[0])
    return {name: Speed(tuple(images / t for t in mine)) for name, mine in times.items()}


def take_turns(
    calls: dict[str, Callable[[], Any]], repeats: int = 7, seconds: float = 0.4
) -> dict[str, tuple[float, ...]]:
    """Seconds of one call, for each name and turn; devices are waited for.

    Args:
        calls: By name.
        repeats: Turns.
        seconds: Duration of one turn of one call, which is repeated as often as fits.
    """
    # Timer runs single-threaded unless told otherwise.
    threads = torch.get_num_threads()
    timers = {
        name: Timer("call()", globals={"call": call}, num_threads=threads)
        for name, call in calls.items()
    }
    # Not blocked_autorange: behind large kernels it takes its own overhead for a noisy one, and
    # runs ten times longer than asked.
    numbers = {
        name: max(1, round(seconds / timer.timeit(2).mean)) for name, timer in timers.items()
    }
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in track(range(repeats), description="Timing", transient=True):
        for name, timer in timers.items():
            times[name].append(timer.timeit(numbers[name]).mean)
    return {name: tuple(mine) for name, mine in times.items()}


def _call(network: nn.Module, batches: Sequence[Tensor]) -> Callable[[], Any]:
    endless = cycle(batches)
    return lambda: network(next(endless))
