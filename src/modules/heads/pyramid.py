"""Resizes a backbone's maps to the strides that heads expect."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor, nn

from ..backbones.base import Level

STRIDES = (4, 8, 16, 32)


class Pyramid(nn.Module):
    """Makes one map for each of `strides`, from the backbone's map that is nearest in stride.

    Finer maps are made by transposed convolutions that halve the channels, coarser ones by max
    pooling (the simple feature pyramid of ViTDet, Li et al., arXiv:2203.16527, there for plain
    transformers). Maps that have the stride already are passed on unchanged.
    """

    def __init__(self, levels: Sequence[Level], strides: Sequence[int] = STRIDES) -> None:
        """Make the missing maps.

        Args:
            levels: The backbone's maps.
            strides: Those that the head expects, in pixels.
        """
        super().__init__()
        self.sources: list[int] = []
        self.channels: list[int] = []
        resize: list[nn.Module] = []
        for stride in strides:
            octaves = [math.log2(level.stride / stride) for level in levels]
            source = min(range(len(levels)), key=lambda i: abs(octaves[i]))
            doublings, channels = round(octaves[source]), levels[source].channels
            self.sources.append(source)
            self.channels.append(channels >> max(0, doublings))
            resize.append(_finer(channels, doublings) if doublings > 0 else _coarser(-doublings))
        self.resize = nn.ModuleList(resize)

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Return maps `(B, C, H, W)`, one for each stride."""
        pairs = zip(self.sources, self.resize, strict=True)
        return [resize(maps[source]) for source, resize in pairs]


def _finer(channels: int, doublings: int) -> nn.Module:
    layers: list[nn.Module] = []
    for step in range(doublings):
        layers += [nn.GroupNorm(1, channels), nn.GELU()] if step else []
        layers.append(nn.ConvTranspose2d(channels, channels // 2, 2, stride=2))
        channels //= 2
    return nn.Sequential(*layers)


def _coarser(halvings: int) -> nn.Module:
    pools = [nn.MaxPool2d(2, ceil_mode=True) for _ in range(halvings)]
    return nn.Sequential(*pools)
