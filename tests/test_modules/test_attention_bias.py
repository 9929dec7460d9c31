"""A bias on the logits: fused as from the definition, masked as removed."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from src.modules.layers.attention import Attended, attend, explicit
from src.modules.layers.fused_attention import by_columns, fused

BATCH, HEADS, TOKENS, DIM = 2, 3, 9, 4
SCALE = DIM**-0.5
SHAPES = [(BATCH, HEADS), (1, HEADS), (BATCH, 1)]
SIZES = {
    "drawn": torch.tensor([[1.0, 0, 1, 1, 0, 1, 0, 1, 1], [1, 1, 0, 0, 0, 1, 1, 0, 1]]),
    "merged": torch.arange(1.0, 19).view(2, 9).remainder(5) + 1,
    "ones": torch.ones(2, 9),
}


@pytest.fixture(params=SIZES, name="size")
def _size(request: pytest.FixtureRequest) -> Tensor:
    return SIZES[request.param].clone()


@pytest.fixture(params=SHAPES, name="bias", ids=str)
def _bias(request: pytest.FixtureRequest) -> Tensor:
    return 2 * torch.randn(*request.param, TOKENS, TOKENS)


def make_heads() -> list[Tensor]:
    return [torch.randn(BATCH, HEADS, TOKENS, DIM) for _ in range(3)]


@pytest.mark.parametrize("way", [fused, by_columns])
def test_fused_equals_explicit_gradients_included(way, size, bias):
    inputs = [each.requires_grad_() for each in (*make_heads(), size, bias)]
    direction = torch.randn(BATCH, HEADS, TOKENS, DIM)
    found = []
    for function in (way, explicit):
        out = function(*inputs[:4], SCALE, bias=inputs[4])
        found.append([out.detach(), *torch.autograd.grad((out * direction).sum(), inputs)])
    for ours, theirs in zip(*found, strict=True):
        largest = max(theirs.abs().max().item(), 1)
        torch.testing.assert_close(ours, theirs, atol=1e-5 * largest, rtol=0)


@pytest.mark.parametrize("dropout", [0.0, 1e-9])
@pytest.mark.parametrize("gradients", [False, True])
@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize("sized", [False, True])
def test_attention_and_its_weights_are_the_definition(dropout, gradients, biased, sized):
    heads = make_heads()
    size = SIZES["drawn"] if sized else None
    bias = 2 * torch.randn(1, HEADS, TOKENS, TOKENS) if biased else None
    ones = torch.ones(BATCH, TOKENS)
    expected = explicit(*heads, ones if size is None else size, SCALE, bias=bias)
    with torch.set_grad_enabled(gradients):
        out = attend(*heads, size, dropout, bias=bias)
    attended = Attended(*heads, SCALE, size, bias)
    weights = attended.weights()
    kept = torch.ones(BATCH, TOKENS).bool() if size is None else size > 0
    for ours in (out, weights @ heads[2]):
        ours, theirs = ours.transpose(1, 2)[kept], expected.transpose(1, 2)[kept]
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)
    torch.testing.assert_close(attended.weights(queries=2), weights[:, :, :2])


@pytest.mark.parametrize("gradients", [False, True])
def test_masked_equals_removed_where_rows_and_columns_follow(gradients, bias):
    heads, size = make_heads(), SIZES["drawn"]
    with torch.set_grad_enabled(gradients):
        masked = attend(*heads, size, bias=bias)
    for image in range(BATCH):
        left = size[image].nonzero().squeeze(1)
        own = bias[min(image, len(bias) - 1)][None, :, left][..., left]
        removed = attend(*(each[image, None][:, :, left] for each in heads), bias=own)
        torch.testing.assert_close(masked[image, None][:, :, left], removed, atol=1e-5, rtol=0)


def test_a_bias_without_sizes_learns():
    heads = make_heads()
    bias = torch.zeros(1, HEADS, TOKENS, TOKENS, requires_grad=True)
    ones = torch.ones(BATCH, TOKENS)
    of_both = [
        torch.autograd.grad(out.square().sum(), bias)[0]
        for out in (attend(*heads, bias=bias), attend(*heads, ones, bias=bias))
    ]
    assert of_both[0].abs().max() > 1e-3
    torch.testing.assert_close(*of_both, atol=1e-5, rtol=0)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_low_precision_is_near(dtype, size, bias):
    heads = make_heads()
    low = [each.to(dtype) for each in (*heads, bias)]
    low.insert(3, size)
    full = [each.float().clone().requires_grad_() for each in low]
    for each in low:
        each.requires_grad_()
    found = []
    for function, inputs in ((fused, low), (explicit, full)):
        out = function(*inputs[:4], SCALE, bias=inputs[4])
        found.append([out, *torch.autograd.grad(out.float().sum(), inputs)])
    assert found[0][0].dtype == dtype
    for ours, theirs in zip(*found, strict=True):
        largest = max(theirs.abs().max().item(), 1)
        torch.testing.assert_close(ours.float() / largest, theirs / largest, atol=0.05, rtol=0)


@pytest.mark.parametrize("way", [fused, by_columns])
def test_gradients_stay_finite_where_dropped_keys_win(way):
    heads = [each.requires_grad_() for each in make_heads()]
    size = SIZES["drawn"].clone().requires_grad_()
    bias = torch.where(size.detach() == 0, 500.0, 0.0)[:, None, None, :]
    bias = bias.expand(-1, -1, TOKENS, -1).clone().requires_grad_()
    out = way(*heads, size, SCALE, bias=bias)
    for gradient in torch.autograd.grad(out.sum(), [*heads, size, bias]):
        assert torch.isfinite(gradient).all()
