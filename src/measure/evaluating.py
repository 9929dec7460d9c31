"""Puts networks into evaluation mode for a while."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def evaluating(*networks: nn.Module) -> Iterator[None]:
    """Put `networks` into evaluation mode; afterwards each of their modules is in its own again.

    Parts may be in modes of their own, as a frozen backbone in a student that trains.
    """
    training = [part for network in networks for part in network.modules() if part.training]
    try:
        if training:
            for network in networks:
                network.eval()
        yield
    finally:
        for part in training:
            part.training = True
