"""Defines what a network of window attention offers to methods that skip windows."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Generic

from jaxtyping import Int
from torch import Tensor

from .timm_parts import BlockT


class WindowedBackbone(ABC, Generic[BlockT]):
    """Extends a `SpatialBackbone` whose blocks compute windows independently, and can skip some."""

    @abstractmethod
    def windows(self, block: BlockT, x: Tensor) -> Int[Tensor, "W M"]:
        """Return the positions of each window in which `block` attends, see `partition`."""
