"""A file with a head on the maps beside its student says so, and does not call it left out."""

from __future__ import annotations

import torch

from src.checkpoints.found_weights import find_weights


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
