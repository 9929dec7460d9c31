"""Patches that leave a sequence, kept for the map that dense prediction needs whole."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from ..layers.attention import Attended
from ..layers.tokens import Tokens, take_rows


class Hooks(Protocol):
    """What the block loop asks a method."""

    def before_block(self, layer: int, tokens: Tokens) -> Tokens:
        """The tokens that enter block `layer`."""

    def after_attention(self, layer: int, tokens: Tokens, attended: Attended) -> Tokens:
        """The tokens that leave the attention of block `layer`."""

    def after_mlp(self, layer: int, tokens: Tokens, moved: Tensor) -> Tokens:
        """The tokens that leave block `layer`."""


class Departures:
    """A method's hooks; each patch is remembered as it was when it left.

    Under a mask and under removal alike, so that training sees the map of inference; a decision
    drawn in training gets its gradient from both sides of it.
    """

    def __init__(self, method: Hooks) -> None:
        """Ask `method`; nothing has left yet."""
        self._method = method
        self._left: Tensor | float = 0.0  # (B, patches, C), 0 where the patch is still there

    def before_block(self, layer: int, tokens: Tokens) -> Tokens:
        """The method's answer."""
        return self._noted(tokens, self._method.before_block(layer, tokens))

    def after_attention(self, layer: int, tokens: Tokens, attended: Attended) -> Tokens:
        """The method's answer."""
        return self._noted(tokens, self._method.after_attention(layer, tokens, attended))

    def after_mlp(self, layer: int, tokens: Tokens, moved: Tensor) -> Tokens:
        """The method's answer."""
        return self._noted(tokens, self._method.after_mlp(layer, tokens, moved))

    def _noted(self, before: Tokens, after: Tokens) -> Tokens:
        if after is not before:
            gone = before.survivors() - after.survivors()
            self._left = self._left + gone.unsqueeze(-1) * in_place(before)
        return after

    def whole(self, tokens: Tokens) -> Tensor:
        """All patches `(B, patches, C)`: those that `tokens` stand for, and those that left."""
        return tokens.survivors().unsqueeze(-1) * in_place(tokens) + self._left


def in_place(tokens: Tokens) -> Tensor:
    """For each patch of the image the token that stands for it, `(B, patches, C)`; any for none."""
    if tokens.source is None:
        return tokens.patches
    return take_rows(tokens.patches, tokens.source.clamp(min=0))
