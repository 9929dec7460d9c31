"""The report's accuracy and agreement are those of the logits, among the data's classes too."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from src.export import report
from src.export.files import Variant

EXACT = torch.tensor([[3.0, 1, 2, 0], [0, 3, 2, 1], [4, 1, 2, 3]])
ROUNDED = torch.tensor([[0.0, 1, 2, 3], [0, 2, 3, 1], [4, 2, 1, 3]])  # best: 3, 2, 0
LABELS = torch.tensor([1, 1, 2])
VARIANTS = [
    Variant("sparse", "fp32", Path("exact")),
    Variant("sparse", "int8 static", Path("rounded")),
]


def score(monkeypatch: pytest.MonkeyPatch, present: tuple[int, ...] | None) -> list[report.Row]:
    logits: dict[str, Tensor] = {"exact": EXACT, "rounded": ROUNDED}
    monkeypatch.setattr(report, "load", lambda path: lambda images: (logits[path.name],))
    data = SimpleNamespace(
        setup=lambda stage: None,
        test_dataloader=lambda: [(torch.zeros(3, 3, 8, 8), LABELS)],
        present_classes=present,
    )
    rows, number = report.scored(VARIANTS, data, 3)
    assert number == 3
    return rows


def test_among_all_classes(monkeypatch):
    exact, rounded = score(monkeypatch, None)
    assert exact == {"acc1": pytest.approx(100 / 3)}
    assert (rounded["acc1"], rounded["same_class"]) == (0, pytest.approx(1 / 3))
    assert "same_class_present" not in rounded


def test_among_the_classes_of_the_data(monkeypatch):
    exact, rounded = score(monkeypatch, (1, 2))  # best: 2, 1, 2 and 2, 2, 1
    assert exact["acc1_present"] == pytest.approx(200 / 3)
    assert rounded["acc1_present"] == 0
    assert rounded["same_class_present"] == pytest.approx(1 / 3)
