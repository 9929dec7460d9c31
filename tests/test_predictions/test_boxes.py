"""Objects in files and pictures: their masks, and which are drawn."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from PIL import Image

from src.datamodules.normalization import Normalization
from src.errors import InputError
from src.modules.backbones.output import SparseOutput
from src.modules.heads.base import DenseOutput
from src.predictions.base import Drawn, Options, Predicted
from src.predictions.boxes import BoxLines
from src.runs import prediction

PLAIN = Normalization((0.0,) * 3, (1.0,) * 3)
STUDENT = SparseOutput(torch.zeros(1, 0), torch.zeros(1, 0, 0), torch.zeros(1, 0))
CONF = Path(__file__).parents[2] / "conf" / "predict.yaml"
GRAY = (90, 90, 90)


def found(**more: torch.Tensor) -> DenseOutput:
    objects = {
        "boxes": torch.tensor([[0.0, 0, 16, 8], [16, 0, 32, 16]]),
        "scores": torch.tensor([0.2, 0.6]),
        "labels": torch.tensor([1, 2]),
    }
    return DenseOutput(STUDENT, detections=(objects | more,))


def test_masks_are_runs_at_the_size_of_the_photograph(tmp_path: Path) -> None:
    """64 x 32 pixels fill the upper half of a frame of 32."""
    coco = pytest.importorskip("pycocotools.mask")
    masks = torch.zeros(2, 1, 32, 32)
    masks[0, 0, :8, :16] = 0.9
    masks[1, 0, :16, 16:] = 0.9
    masks[1, 0, 16:] = 0.9  # below the photograph
    with BoxLines(tmp_path / "a.jsonl", Options()) as lines:
        lines.write([Predicted("a.jpg", (64, 32), (32, 32))], found(masks=masks))
    line = json.loads((tmp_path / "a.jsonl").read_text())
    assert line["labels"] == [2, 1]
    assert [mask["size"] for mask in line["masks"]] == [[32, 64], [32, 64]]
    for box, mask in zip(line["boxes"], map(coco.decode, line["masks"]), strict=True):
        rows, columns = np.nonzero(mask)
        assert [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1] == box
        assert mask.sum() == len(rows) == (box[2] - box[0]) * (box[3] - box[1])


def test_detectors_without_masks_write_none(tmp_path: Path) -> None:
    with BoxLines(tmp_path / "a.jsonl", Options()) as lines:
        lines.write([Predicted("a.jpg", (64, 32), (32, 32))], found())
    assert "masks" not in json.loads((tmp_path / "a.jsonl").read_text())


@pytest.mark.parametrize(("least", "drawn"), [(0.1, {1, 2}), (0.3, {2}), (0.7, set())])
def test_min_score_chooses_what_is_drawn(least: float, drawn: set[int], tmp_path: Path) -> None:
    canvas = Drawn(Image.new("RGB", (320, 160), GRAY), torch.zeros(1, 3, 32, 32), PLAIN)
    masks = torch.zeros(2, 1, 32, 32)
    masks[0, 0, :8, :16] = masks[1, 0, :16, 16:] = 1
    picture = BoxLines(tmp_path, Options(min_score=least)).draw(canvas, found(masks=masks))
    middles = {1: (8 + 80, 8 + 40), 2: (8 + 240, 8 + 80)}
    assert {n for n, middle in middles.items() if picture.getpixel(middle) != GRAY} == drawn


def test_min_score_is_a_share() -> None:
    settings = {"batch_size": 1, "num_workers": None, "top_k": 1, "threshold": 0.5}
    assert OmegaConf.load(CONF).min_score == Options().min_score
    prediction._check(OmegaConf.create(settings | {"min_score": 1.0}))
    with pytest.raises(InputError, match=r"min_score=1\.5"):
        prediction._check(OmegaConf.create(settings | {"min_score": 1.5}))
