"""Times networks side by side on the same machine."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
from statistics import median

import torch
from rich.progress import track
from torch import Tensor, nn
from torch.utils.benchmark import timer  # waits for the GPU

from .evaluating import evaluating


@dataclass(frozen=True)
class Speed:
    """Holds the images (or clips) a second of one network, turn by turn."""

    rates: tuple[float, ...]

    @property
    def images_per_s(self) -> float:
        """Return the median rate."""
        return median(self.rates)

    def over(self, other: Speed) -> tuple[float, float, float]:
        """Return how many times as fast as `other` in the same turns: median, least and most."""
        ratios = [one / another for one, another in zip(self.rates, other.rates, strict=True)]
        return median(ratios), min(ratios), max(ratios)


def compare_speed(
    networks: dict[str, nn.Module],
    batches: Sequence[Tensor],
    repeats: int = 7,
    seconds: float = 0.4,
) -> dict[str, Speed]:
    """Time the inference of networks in turns, so that noise affects all of them alike.

    Args:
        networks: By name; put into evaluation mode for the measurement.
        batches: Inputs `(B, 3, S, S)` or `(B, 3, T, S, S)` on the device of the networks, taken one
            after the other.
        repeats: Turns.
        seconds: Duration of one network's turn.
    """
    calls = {name: _call(network, batches) for name, network in networks.items()}
    with evaluating(*networks.values()), torch.inference_mode():
        times = take_turns(calls, repeats, seconds)
    images = len(batches[0])
    return {name: Speed(tuple(images / t for t in turns)) for name, turns in times.items()}


def take_turns(
    calls: Mapping[str, Callable[[], object]], repeats: int = 7, seconds: float = 0.4
) -> dict[str, tuple[float, ...]]:
    """Return the seconds of one call, for each name and turn; devices are waited for.

    Args:
        calls: By name.
        repeats: Turns.
        seconds: Duration of one turn of one call, which is repeated as often as fits.
    """
    # A turn starts with a call that does not count: it finds the memory and the caches as another
    # call left them, which is not how a service runs.
    for call in calls.values():
        call()
    numbers = {
        name: max(1, round(seconds / max(_mean_seconds(call, 1), 1e-9)))
        for name, call in calls.items()
    }
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in track(range(repeats), description="Timing", transient=True):
        for name, call in calls.items():
            call()
            times[name].append(_mean_seconds(call, numbers[name]))
    return {name: tuple(turns) for name, turns in times.items()}


def _mean_seconds(call: Callable[[], object], number: int) -> float:
    start = timer()
    for _ in range(number):
        call()
    return (timer() - start) / number


def _call(network: nn.Module, batches: Sequence[Tensor]) -> Callable[[], object]:
    endless = cycle(batches)
    return lambda: network(next(endless))
