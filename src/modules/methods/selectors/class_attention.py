"""Score a patch by the class token's attention to it (EViT; paper A, Table 4b)."""

from __future__ import annotations

from torch import Tensor
from typing_extensions import override

from ...layers.attention import Attended
from ...layers.tokens import Tokens
from .base import Selector


class ClassTokenAttention(Selector):
    """The class token's attention to each patch, averaged over the heads; nothing to learn."""

    reads_attention = True
    needs_class_token = True

    @override
    def score(self, tokens: Tokens, number: int, attended: Attended | None) -> Tensor:
        assert attended is not None
        return attended.weights(queries=1)[:, :, 0, tokens.prefix :].mean(dim=1)
