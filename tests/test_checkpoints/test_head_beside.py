"""A file with a head on the maps beside its student says so, and does not call it left out."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from src.checkpoints.checkpoint import Checkpoint
from src.checkpoints.found_weights import find_weights
from src.checkpoints.plain_values import UnreadTensor
from src.errors import InputError


def test_a_head_beside_a_student_is_named() -> None:
    weights = {
        f"student.backbone.{name}": torch.zeros(2)
        for name in ("blocks.0.x", "norm.weight", "patch_embed.x")
    }
    head = {"head.x": torch.zeros(1), "head.y": torch.zeros(1)}
    other = {"loss.z": torch.zeros(1)}
    assert find_weights(weights | head, "f").notes[1:] == [
        "2 tensors beside them are the head's of its task"
    ]
    assert find_weights(weights | head | other, "f").notes[1:] == [
        "1 other tensors are left out",
        "2 tensors beside them are the head's of its task",
    ]


def test_a_head_without_values_is_refused() -> None:
    weights: dict[str, object] = {
        f"student.backbone.{name}": torch.zeros(2)
        for name in ("blocks.0.x", "norm.weight", "patch_embed.x")
    }
    checkpoint = Checkpoint(Path("f"), weights | {"head.x": UnreadTensor("in a sparse form")})
    assert "blocks.0.x" in checkpoint.weights().network
    with pytest.raises(InputError, match="f is refused because it holds x in a sparse form"):
        assert checkpoint.head
