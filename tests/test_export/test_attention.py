"""Attention in ONNX files adds sizes by a channel of the keys, and to the same result."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from src.export.attention import BiasAsChannel
from src.modules.layers.attention import attend

DIM = 8


def inputs(tokens: int) -> list[Tensor]:
    torch.manual_seed(0)
    return [torch.randn(2, 3, tokens, DIM) for _ in range(3)]


@pytest.mark.parametrize("tokens", [2 * DIM, 2 * DIM + 1, 40])
@pytest.mark.parametrize("scale", [None, 0.7])
def test_it_is_the_same_attention(tokens, scale):
    size = torch.rand(2, tokens) * 4
    size[0, 3] = 0.0
    expected = attend(*inputs(tokens), size=size, scale=scale)
    with BiasAsChannel():
        found = attend(*inputs(tokens), size=size, scale=scale)
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("shape", [(2, 3, 40, 40), (1, 1, 40, 40), (40, 40), (1, 1, 1, 40)])
@pytest.mark.parametrize("kind", [torch.float32, torch.bool])
def test_other_masks_are_left_alone(shape, kind):
    mask = torch.randn(shape) if kind.is_floating_point else torch.rand(shape) > 0.3
    expected = F.scaled_dot_product_attention(*inputs(40), mask)
    with BiasAsChannel():
        found = F.scaled_dot_product_attention(*inputs(40), mask)
    assert torch.equal(found, expected)


class Sized(nn.Module):
    def forward(self, query: Tensor, key: Tensor, value: Tensor, size: Tensor) -> Tensor:
        return attend(query, key, value, size)


def test_no_operator_goes_over_the_logits_to_add_a_bias():
    with BiasAsChannel():
        program = torch.export.export(Sized(), (*inputs(40), torch.ones(2, 40)), strict=False)
    over_logits = [
        str(node.target)
        for node in program.graph.nodes
        if isinstance(value := node.meta.get("val"), Tensor) and value.shape[-2:] == (40, 40)
    ]
    assert sorted(over_logits) == ["aten.matmul.default", "aten.softmax.int"]
