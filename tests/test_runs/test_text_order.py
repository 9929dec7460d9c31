"""Weights without names of classes may have them in the order of text, as torchvision sorts."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch

from src import create_student
from src.checkpoints.checkpoint import Checkpoint
from src.runs.class_names import match_classes, warn_of_other_classes
from tests.test_runs.test_class_names import data_of


def bare(path: Path, outputs: int) -> Checkpoint:
    """Weights as timm saves them."""
    torch.save(create_student("vit_micro", num_classes=outputs).backbone.state_dict(), path)
    return Checkpoint.read(path)


@pytest.mark.parametrize(
    ("names", "moved"),
    [
        (("class_1", "class_2", "class_10"), True),
        (("ant", "Bird"), True),
        (("ant", "bee"), False),
        (("class_01", "class_10"), False),
    ],
)
def test_another_order_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, names: tuple[str, ...], moved: bool
) -> None:
    data, weights = data_of(tmp_path, *names), bare(tmp_path / "a.pth", len(names))
    with caplog.at_level(logging.WARNING):
        match_classes(data, weights)
        warn_of_other_classes(data, weights)
    said = [message for message in caplog.messages if "does not name its classes" in message]
    assert len(said) == 2 * moved
    caplog.clear()
    warn_of_other_classes(data, bare(tmp_path / "b.pth", len(names) + 1))  # whose head is new
    assert not caplog.messages
