"""The intersection over union of each class, beside the mean that the task logs."""

from __future__ import annotations

import csv
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from src.callbacks.class_iou import ClassIoU
from src.datamodules.targets import IGNORED
from src.errors import InputError
from src.modules.classification import SparseClassifier
from src.modules.heads.base import DenseOutput
from src.modules.segmentation import SparseSegmenter

ONE: Any = SimpleNamespace(world_size=1)
DATA: Any = SimpleNamespace(num_classes=3, class_name=["road", "car", "moon"].__getitem__)


def test_each_class_has_its_line(tmp_path: Path) -> None:
    truth = torch.tensor([[0, 0, 0, 1], [1, 1, 0, IGNORED]])
    found = torch.tensor([[0, 0, 1, 1], [1, 0, 0, 1]])
    logits = torch.nn.functional.one_hot(found, 3).permute(2, 0, 1)[None].float()
    output: Any = DenseOutput(backbone=None, logits=logits, losses={}, detections=[])  # type: ignore[arg-type]
    callback = ClassIoU(str(tmp_path / "iou.csv"))
    module: Any = SparseSegmenter
    callback.prepare(ONE, module, DATA)
    callback.on_test_start(ONE, module)
    for _ in range(2):
        step: Any = {"output": output}
        callback.on_test_batch_end(ONE, module, step, (logits, [{"mask": truth}]), 0)
    callback.on_test_end(ONE, module)
    rows = list(csv.DictReader((tmp_path / "iou.csv").read_text("utf-8").splitlines()))
    assert rows == [
        {"class": "road", "iou": "60.0", "recall": "75.0", "precision": "75.0", "share": "57.14"},
        {"class": "car", "iou": "50.0", "recall": "66.67", "precision": "66.67", "share": "42.86"},
        {"class": "moon", "iou": "", "recall": "", "precision": "", "share": "0.0"},
    ]


def test_other_tasks_are_refused() -> None:
    module: Any = SparseClassifier
    with pytest.raises(InputError, match=r"class_iou=iou\.csv is for a class for each pixel"):
        ClassIoU("iou.csv").prepare(ONE, module, DATA)
