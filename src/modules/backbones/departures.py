"""Keeps the features of removed patches, so that dense prediction gets a complete map."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from ..layers.attention import Attended
from ..layers.tokens import Tokens, take_rows


class Hooks(Protocol):
    """Declares the hooks of a method, which the block loop calls."""

    def after_embedding(self, images: Tensor, tokens: Tokens) -> Tokens:
        """Return the tokens of `images` that enter the network."""

    def before_block(self, layer: int, tokens: Tokens) -> Tokens:
        """Return the tokens that enter block `layer`."""

    def after_attention(self, layer: int, tokens: Tokens, attended: Attended) -> Tokens:
        """Return the tokens that leave the attention of block `layer`."""

    def after_mlp(self, layer: int, tokens: Tokens, moved: Tensor) -> Tokens:
        """Return the tokens that leave block `layer`."""


class Departures:
    """Calls a method's hooks and remembers the features of each patch when it is dropped.

    Masked and removed patches are treated alike, so that training sees the map of inference. A
    decision drawn in training gets a gradient from the kept and from the remembered features.
    """

    def __init__(self, method: Hooks) -> None:
        """Wrap `method`; no patch has been dropped yet."""
        self._method = method
        self._left: Tensor | float = 0.0  # (B, patches, C), 0 where the patch is still there

    def after_embedding(self, images: Tensor, tokens: Tokens) -> Tokens:
        """Call the method's hook and remember the patches that it drops."""
        return self._noted(tokens, self._method.after_embedding(images, tokens))

    def before_block(self, layer: int, tokens: Tokens) -> Tokens:
        """Call the method's hook and remember the patches that it drops."""
        return self._noted(tokens, self._method.before_block(layer, tokens))

    def after_attention(self, layer: int, tokens: Tokens, attended: Attended) -> Tokens:
        """Call the method's hook and remember the patches that it drops."""
        return self._noted(tokens, self._method.after_attention(layer, tokens, attended))

    def after_mlp(self, layer: int, tokens: Tokens, moved: Tensor) -> Tokens:
        """Call the method's hook and remember the patches that it drops."""
        return self._noted(tokens, self._method.after_mlp(layer, tokens, moved))

    def _noted(self, before: Tokens, after: Tokens) -> Tokens:
        if after is not before:
            gone = before.survivors() - after.survivors()
            self._left = self._left + gone.unsqueeze(-1) * in_place(before)
        return after

    def complete(self, tokens: Tokens) -> Tensor:
        """Return features of all patches, `(B, patches, C)`: as they are, or were when dropped."""
        features = tokens.survivors().unsqueeze(-1) * in_place(tokens) + self._left
        return features.to(tokens.x.dtype)  # sizes, from which survivors come, are in fp32


def in_place(tokens: Tokens) -> Tensor:
    """Return the token of each original patch, `(B, patches, C)`.

    Patches without a token get an arbitrary row; mask them with `tokens.survivors()`.
    """
    if tokens.source is None:
        return tokens.patches
    return take_rows(tokens.patches, tokens.source.clamp(min=0))
