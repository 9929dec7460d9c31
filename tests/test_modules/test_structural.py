"""Structural pooling on maps that are not square."""

from __future__ import annotations

import pytest
import timm
import torch
from torch.nn import functional as F

from src import sparsify


@pytest.mark.parametrize("grid", [(8, 2), (2, 8), (3, 5)])  # 16 patches are also a square's
@torch.no_grad()
def test_neighbors_are_those_of_the_grid(grid):
    rows, columns = grid
    network = timm.create_model(
        "vit_tiny_patch16_224",
        img_size=(16 * rows, 16 * columns),
        depth=2,
        embed_dim=16,
        num_heads=2,
        num_classes=3,
    ).eval()
    images = torch.randn(2, 3, 16 * rows, 16 * columns)
    x = network.blocks[0](network._pos_embed(network.patch_embed(images)))
    plane = x[:, 1:].transpose(1, 2).unflatten(2, grid)
    pooled = F.avg_pool2d(plane, 2, ceil_mode=True, count_include_pad=False)
    x = network.blocks[1](torch.cat([x[:, :1], pooled.flatten(2).transpose(1, 2)], dim=1))
    theirs = network.forward_head(network.norm(x))
    ours = sparsify(network, method="structural", ratios=[0.5], locations=[1])(images).logits
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)
