"""Pictures of a training, and labels that would lie on each other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from src.datamodules.normalization import Normalization
from src.modules.backbones.output import SparseOutput, Step
from src.modules.heads.base import DenseOutput
from src.pictures import dense
from src.pictures.legends import color_of
from src.pictures.overlays import draw_objects

PLAIN = Normalization((0.0,) * 3, (1.0,) * 3)


def test_tokens_that_absorb_others_are_drawn_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of four patches the right two share one token: three tokens are left of four."""
    drawn: list[tuple[Sequence[Tensor], Sequence[str]]] = []

    def kept(columns: Sequence[Tensor], titles: Sequence[str]) -> Image.Image:
        drawn.append((columns, titles))
        return Image.new("RGB", (8, 8))

    monkeypatch.setattr(dense, "grid", kept)
    step = Step(3, 0.75, torch.ones(1, 4), torch.tensor([3]), torch.tensor([[0, 1, 2, 1]]))
    nothing: Any = torch.zeros(1, 0)
    student = SparseOutput(nothing, torch.zeros(1, 0, 0), nothing, (step,))
    images = torch.rand(1, 3, 16, 16)
    output = DenseOutput(student, logits=torch.zeros(1, 2, 16, 16))
    truth = [{"mask": torch.zeros(16, 16, dtype=torch.long)}]
    dense.draw_dense(images, truth, output, PLAIN)
    ((columns, titles),) = drawn
    assert titles[-1] == "block 3: 75 %"
    left = columns[-1][0]
    assert torch.equal(left[..., :8], images[0, ..., :8])
    assert left[0, :, 8:].unique().numel() == 1


def test_labels_of_boxes_in_one_place_can_all_be_read() -> None:
    photograph = Image.new("RGB", (400, 400), (90, 90, 90))
    boxes = torch.tensor([[50.0, 80, 150, 160]] * 3 + [[300.0, 395, 330, 399]] * 2)
    labels = torch.tensor([1, 2, 3, 4, 5])
    names = {label: f"name {label}" for label in range(1, 6)}
    scores = torch.tensor([0.9, 0.8, 0.7, 0.6, 0.5])
    picture = draw_objects(photograph, boxes, scores, labels, names)
    pixels = np.asarray(picture)[8:408, 8:408]
    areas = [int((pixels == color_of(label)).all(axis=2).sum()) for label in range(1, 6)]
    assert min(areas) > 400
