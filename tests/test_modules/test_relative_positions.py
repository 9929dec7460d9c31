"""A family with a table of relative positions, from outside: its bias follows the tokens.

Each patch token carries its place (`Tokens.data`); each block looks its bias up for the places that
are left. Nothing in `layers` or in the block loop knows of it.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from timm.models.vision_transformer import Block, VisionTransformer
from torch import Tensor, nn
from torch.nn import functional as F
from typing_extensions import override

from src.modules.backbones.vit import SparseViT
from src.modules.layers.attention import Attended, attend
from src.modules.layers.tokens import Tokens
from src.modules.methods.dense import Dense
from src.modules.methods.dynamicvit import DynamicViT
from src.modules.methods.evit import EViT
from src.modules.methods.selectors import predictor
from src.modules.methods.tome import ToMe
from src.modules.schedules import geometric

SIDE, HEADS = 5, 4
PATCHES = SIDE * SIDE


class RelativeViT(VisionTransformer):
    """A ViT whose attention adds a learned number for each head and relative position."""

    def __init__(self) -> None:
        super().__init__(
            img_size=8 * SIDE, patch_size=8, embed_dim=32, depth=4, num_heads=HEADS, num_classes=7
        )
        self.table = nn.Parameter(torch.randn(HEADS, (2 * SIDE - 1) ** 2 + 1))

    def bias(self, places: Tensor) -> Tensor:
        """Look up `(B, H, P+N, P+N)` for `places (B, N)`; the class token has its own number."""
        rows, columns = places // SIDE, places % SIDE
        down, right = (each.unsqueeze(2) - each.unsqueeze(1) + SIDE - 1 for each in (rows, columns))
        index = F.pad(down * (2 * SIDE - 1) + right, (1, 0, 1, 0), value=self.table.shape[1] - 1)
        return self.table[:, index].transpose(0, 1)

    def forward(self, images: Tensor) -> Tensor:
        x = self._pos_embed(self.patch_embed(images))
        bias = self.bias(torch.arange(PATCHES)[None])
        for block in self.blocks:
            query, key, value = (
                block.attn.qkv(block.norm1(x))
                .view(*x.shape[:2], 3, HEADS, -1)
                .permute(2, 0, 3, 1, 4)
            )
            logits = query @ key.transpose(-2, -1) * block.attn.scale + bias
            x = x + block.attn.proj((logits.softmax(-1) @ value).transpose(1, 2).flatten(2))
            x = x + block.mlp(block.norm2(x))
        return self.forward_head(self.norm(x))


class SparseRelativeViT(SparseViT):
    @override
    def embed(self, images: Tensor) -> Tokens:
        tokens = super().embed(images)
        return replace(tokens, data={"places": torch.arange(PATCHES)[None]})

    @override
    def attention(self, block: Block, tokens: Tokens) -> tuple[Tensor, Attended]:
        attn = block.attn
        heads = attn.qkv(block.norm1(tokens.x)).unflatten(-1, (3, HEADS, -1))
        query, key, value = heads.permute(2, 0, 3, 1, 4).unbind(0)
        bias = self.backbone.bias(tokens.data["places"])
        mixed = attend(query, key, value, tokens.size, bias=bias)
        out = attn.proj(mixed.transpose(1, 2).flatten(2))
        return out, Attended(query, key, value, attn.scale, tokens.size, bias)


def make_student(method: type = DynamicViT, rho: float = 0.6) -> SparseRelativeViT:
    network = RelativeViT()
    for parameter in network.parameters():
        parameter.data += 0.05 * torch.randn_like(parameter)
    geometry = SparseRelativeViT.geometry(network)
    return SparseRelativeViT(network, method(geometric(rho, (1, 2, 3)), geometry)).eval()


@torch.no_grad()
def test_dense_it_is_the_network():
    student, images = make_student(Dense), torch.randn(2, 3, 40, 40)
    torch.testing.assert_close(
        student(images).logits, student.backbone(images), atol=1e-5, rtol=1e-5
    )


@pytest.mark.parametrize("gradients", [False, True])
def test_masked_equals_removed(gradients, monkeypatch):
    student, images = make_student(), torch.randn(3, 3, 40, 40)
    with torch.no_grad():
        removed = student(images)
    assert removed.features.shape[1] == int(0.6**3 * PATCHES)
    decided = iter(removed.decisions)
    monkeypatch.setattr(predictor, "gumbel_keep", lambda scores: next(decided))
    student.method.train()
    with torch.set_grad_enabled(gradients):
        masked = student(images)
    torch.testing.assert_close(masked.logits, removed.logits, atol=1e-5, rtol=1e-5)
    if gradients:
        masked.logits.square().sum().backward()
        assert student.backbone.table.grad.abs().max() > 0


@pytest.mark.parametrize("method", [EViT, ToMe])
@torch.no_grad()
def test_merged_tokens_have_a_place(method):
    student = make_student(method)
    output = student(torch.randn(2, 3, 40, 40))
    assert output.logits.isfinite().all()
    assert output.features.shape[1] < PATCHES


def test_data_leave_the_batch_free_in_an_export():
    class Selecting(nn.Module):
        def forward(self, x: Tensor, index: Tensor) -> Tensor:
            return Tokens(x, 1, data={"places": torch.arange(3)[None]}).select(index).data["places"]

    batch = torch.export.Dim("batch", max=4096)  # torch 2.7 wants a bound
    inputs = torch.randn(2, 4, 8), torch.tensor([[2, 0], [0, 1]])
    exported = torch.export.export(Selecting(), inputs, dynamic_shapes=({0: batch}, {0: batch}))
    index = torch.tensor([[2, 0], [0, 1], [1, 2]])
    assert torch.equal(exported.module()(torch.randn(3, 4, 8), index), index)
