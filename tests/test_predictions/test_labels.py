"""Files of classes, as evaluations write them."""

from __future__ import annotations

import csv
from pathlib import Path
from types import SimpleNamespace

import torch

from src.predictions.base import Options, Predicted
from src.predictions.labels import EvaluatedLabels


def written(path: Path, present: tuple[int, ...] | None) -> list[dict[str, str]]:
    logits = torch.tensor([[0.0, 3.0, 1.0, 2.0], [4.0, 0.0, -1.0, 1.0]])
    with EvaluatedLabels(path, Options(present_classes=present)) as table:
        table.write(
            [Predicted(name, (8, 8), (8, 8)) for name in ("a.jpg", "b.jpg")],
            SimpleNamespace(logits=logits),  # type: ignore[arg-type]
            torch.tensor([3, 0]),
        )
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_data_with_all_classes(tmp_path: Path) -> None:
    first, second = written(tmp_path / "p.csv", None)
    sure = torch.tensor([0.0, 3.0, 1.0, 2.0]).softmax(0)[1].item()
    assert first.pop("confidence") == f"{sure:.4f}"
    assert first == {"image": "a.jpg", "label": "3", "prediction": "1"}
    assert second["prediction"] == "0"


def test_data_with_some_of_the_classes(tmp_path: Path) -> None:
    rows = written(tmp_path / "p.csv", (2, 3))
    assert [row["prediction"] for row in rows] == ["1", "0"]
    assert [row["prediction_present"] for row in rows] == ["3", "3"]
