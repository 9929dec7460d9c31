"""Puts networks into evaluation mode for a while."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

from torch import nn

_lock = Lock()
_borrowed: Counter[nn.Module] = Counter()  # parts that train, by how many evaluate them now


@contextmanager
def evaluating(*networks: nn.Module) -> Iterator[None]:
    """Put `networks` into evaluation mode; afterwards each of their modules is in its own again.

    Parts may be in modes of their own, as a frozen backbone in a student that trains. Where several
    threads evaluate the same parts, the last one to end restores them.
    """
    with _lock:
        parts = {part for network in networks for part in network.modules()}
        training = [part for part in parts if part.training or part in _borrowed]
        _borrowed.update(training)
        if training:
            for network in networks:
                network.eval()
    try:
        yield
    finally:
        with _lock:
            for part in training:
                _borrowed[part] -= 1
                if not _borrowed[part]:
                    del _borrowed[part]
                    part.training = True
