"""A classifier without weights of its own teaches nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
import timm
import torch

from src.config import compose_config, instantiate
from src.modules.student import build_student, create_student
from tests.helpers import ROOT

DIGITS = ROOT / "assets/vit_micro_digits.safetensors"


def headless(folder: Path) -> Path:
    """The digits' network without its classifier."""
    network = create_student("vit_micro", weights=DIGITS).backbone
    file = folder / "headless.pth"
    torch.save({k: v for k, v in network.state_dict().items() if not k.startswith("head.")}, file)
    return file


@pytest.mark.parametrize(
    ("weights", "classes", "new"),
    [("digits", 10, False), ("digits", 7, True), ("headless", 10, True), (None, 10, False)],
)
def test_a_head_is_new_if_the_weights_are_of_other_classes(
    weights: str | None, classes: int, new: bool, tmp_path: Path
) -> None:
    file = {"digits": DIGITS, "headless": headless(tmp_path), None: None}[weights]
    settings = compose_config(
        [f"backbone.weights={file or 'null'}"],
        ["backbone", "method", "schedule", "task"],
    )
    parts = [settings[key] for key in ("backbone", "method", "schedule")]
    assert build_student(*parts, classes).head_is_new == new
    loss = instantiate(settings["task"], num_classes=classes).loss
    assert ("logit_distillation" in loss.terms) != new
    assert "token_distillation" in loss.terms


def test_timms_weights_are_of_their_own_classes(monkeypatch: pytest.MonkeyPatch) -> None:
    made = timm.create_model
    monkeypatch.setattr(timm, "create_model", lambda *a, pretrained, **k: made(*a, **k))
    settings = compose_config(
        ["backbone=deit_t", "backbone.pretrained=true"], ["backbone", "method", "schedule"]
    )
    parts = [settings[key] for key in ("backbone", "method", "schedule")]
    assert not build_student(*parts, 1000).head_is_new
    assert build_student(*parts, 10).head_is_new
