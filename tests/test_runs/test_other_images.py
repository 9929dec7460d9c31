"""Images that are prepared in another way than a checkpoint's are said, and no others."""

from __future__ import annotations

import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from src.checkpoints.checkpoint import Checkpoint
from src.datamodules.preprocessing import Preprocessing
from src.runs.other_images import warn_of_other_preprocessing

STORED = {
    "size": [80, 80],
    "interpolation": "bicubic",
    "crop_pct": 0.9,
    "crop_mode": "center",
    "mean": [0.5, 0.5, 0.5],
    "std": [0.25, 0.25, 0.25],
}


@pytest.mark.parametrize(
    ("stored", "changed", "said"),
    [
        (STORED, {}, None),
        (None, {"crop_pct": 1.0}, None),
        (STORED, {"crop_pct": 1.0}, "crop_pct=1.0 instead of 0.9."),
        (
            STORED,
            {"mean": [0.4, 0.5, 0.5], "interpolation": "bilinear"},
            "interpolation=bilinear instead of bicubic, mean=[0.4, 0.5, 0.5] instead of "
            "[0.5, 0.5, 0.5].",
        ),
    ],
)
def test_a_difference_is_said(
    caplog: pytest.LogCaptureFixture, stored: object, changed: dict[str, object], said: str | None
) -> None:
    data: Any = SimpleNamespace(preprocessing=Preprocessing.checked(STORED | changed, "here"))
    content = {} if stored is None else {"preprocessing": stored}
    with caplog.at_level(logging.WARNING):
        warn_of_other_preprocessing(data, Checkpoint(Path("a.ckpt"), content))
    start = "Images are prepared in another way than a.ckpt was trained for: "
    assert caplog.messages == ([start + said] if said else [])
