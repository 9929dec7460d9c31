"""Positions of another size: only those in a plane are resampled."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import timm
import torch
from torch import nn

from src import sparsify
from src.errors import InputError
from src.modules.resampling import resampled
from src.modules.weights import load_weights


def swin3d(frames: int) -> nn.Module:
    """A small Video Swin whose windows have `frames` places in time and 3x3 in space."""
    return timm.create_model(
        "swin3d_t",
        num_frames=8,
        img_size=32,
        window_size=(frames, 3, 3),
        embed_dim=8,
        depths=(1, 1, 1),
        num_heads=(1, 1, 1),
        num_classes=2,
    )


def test_windows_in_time_are_not_resampled_as_windows_in_a_plane(tmp_path):
    torch.save(swin3d(1).state_dict(), tmp_path / "dense.pth")  # 25 rows, 5x5 in a plane
    with pytest.raises(InputError, match=r"is \(25, 1\) instead of \(75, 1\)"):
        load_weights(sparsify(swin3d(2)), tmp_path / "dense.pth")


@pytest.mark.parametrize("grid", [(2, 4, 4), (32,)])
def test_positions_of_clips_keep_the_size_of_their_file(grid):
    network = nn.Module()
    network.pos_embed = nn.Parameter(torch.zeros(1, 32, 4))
    network.num_prefix_tokens = 0
    network.patch_embed = SimpleNamespace(grid_size=grid)
    stored = torch.randn(1, 16, 4)  # 4x4, or 16 one after another
    done, notes = resampled(network, {"pos_embed": stored}, {"backbone.pos_embed": stored})
    assert done["backbone.pos_embed"] is stored
    assert notes == []
