"""Pictures of dense predictions: what they show is what the files beside them say."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from src.datamodules.normalization import Normalization
from src.modules.backbones.output import SparseOutput
from src.modules.heads.base import DenseOutput
from src.pictures import dense, legends, overlays
from src.pictures.legends import color_of
from src.predictions.base import Drawn, Options, Predicted
from src.predictions.boxes import BoxLines
from src.predictions.masks import MaskFolder

NAMES = ("ground", "cat", "dog", "bird")
GRAY = (90, 90, 90)
PLAIN = Normalization((0.0,) * 3, (1.0,) * 3)
STUDENT = SparseOutput(torch.zeros(1, 0), torch.zeros(1, 0, 0), torch.zeros(1, 0))
GAP = 8  # pixels left of and above a picture in its frame


class Said:
    """What was last handed to the legend."""

    legend: Mapping[int, str]
    note: str


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> Said:
    last = Said()

    def kept(pictures: Any, legend: Mapping[int, str], note: str = "") -> Image.Image:
        last.legend, last.note = legend, note
        return legends.with_legend(pictures, legend, note)

    monkeypatch.setattr(overlays, "with_legend", kept)
    monkeypatch.setattr(dense, "with_legend", kept)
    return last


def on(size: tuple[int, int], side: int) -> Drawn:
    return Drawn(Image.new("RGB", size, GRAY), torch.zeros(1, 3, side, side), PLAIN)


def detected(
    boxes: list[list[float]], scores: list[float], labels: list[int], masks: Any = None
) -> DenseOutput:
    found = {
        "boxes": torch.tensor(boxes).reshape(-1, 4).float(),
        "scores": torch.tensor(scores),
        "labels": torch.tensor(labels, dtype=torch.long),
    }
    return DenseOutput(STUDENT, detections=(found | ({} if masks is None else {"masks": masks}),))


def extent(picture: Image.Image, color: tuple[int, int, int], size: tuple[int, int]) -> list[int]:
    """Left, top, right and bottom of the pixels of a color, in a picture of this size."""
    pixels = np.asarray(picture)[GAP : GAP + size[1], GAP : GAP + size[0]]
    rows, columns = np.nonzero((pixels == color).all(axis=2))
    return [columns.min(), rows.min(), columns.max(), rows.max()]


def test_boxes_of_the_file_are_those_of_the_picture(tmp_path: Path, said: Said) -> None:
    # 160 x 80 pixels fill the upper half of a frame of 64; they are shown at twice their size.
    size, frame = (160, 80), (64, 64)
    output = detected([[4, 8, 20, 28], [40, 16, 60, 30], [0, 0, 9, 9]], [0.5, 0.9, 0.1], [1, 2, 3])
    with BoxLines(tmp_path / "boxes.jsonl", Options(NAMES)) as lines:
        lines.write([Predicted("a.jpg", size, frame)], output)
    line = json.loads((tmp_path / "boxes.jsonl").read_text())
    assert line["boxes"] == [[100, 40, 150, 75], [10, 20, 50, 70], [0, 0, 22.5, 22.5]]
    assert line["classes"] == ["dog", "cat", "bird"]
    picture = BoxLines(tmp_path, Options(NAMES)).draw(on(size, 64), output)
    for box, label in zip(line["boxes"][:2], line["labels"], strict=False):
        left, _, right, bottom = extent(picture, color_of(label), (320, 160))
        assert [left, bottom] == [2 * box[0], 2 * box[3]]
        assert right >= 2 * box[2]  # the label may be wider
    assert said.legend == {1: "cat (1)", 2: "dog (1)"}
    assert said.note == "1 below 30 %"


@pytest.mark.parametrize(
    ("scores", "note"), [([], "no objects found"), ([0.2, 0.1], "no objects drawn, 2 below 30 %")]
)
def test_a_picture_without_objects_says_so(scores: list[float], note: str, said: Said) -> None:
    boxes = [[0.0, 0, 5, 5]] * len(scores)
    output = detected(boxes, scores, [1] * len(scores))
    picture = BoxLines(Path(), Options(NAMES)).draw(on((32, 32), 32), output)
    assert (said.legend, said.note) == ({}, note)
    written = np.asarray(picture)[:, GAP + 320 + GAP :]
    assert (written < 200).any()


def test_a_label_stays_inside() -> None:
    size = (400, 400)
    for box in ([0.0, 0, 3, 3], [396.0, 2, 399, 9], [390.0, 396, 399, 399], [-9.0, 396, 2, 420]):
        output = detected([box], [0.9], [3])
        picture = BoxLines(Path(), Options(("", "", "", "a long name"))).draw(on(size, 400), output)
        left, top, right, bottom = extent(picture, color_of(3), size)
        assert right - left > 60
        assert bottom - top >= 12


def test_masks_of_objects_are_filled() -> None:
    masks = torch.zeros(2, 1, 32, 32)
    masks[0, :, :8, :16] = 1.0
    masks[1, :, 8:, :] = 1.0  # not sure enough
    boxes = [[0.0, 0, 16, 8], [0.0, 8, 32, 32]]
    output = detected(boxes, [0.9, 0.2], [2, 1], masks)
    picture = BoxLines(Path(), Options(NAMES)).draw(on((64, 32), 32), output)
    inside, outside = (
        picture.getpixel((GAP + 80, GAP + 70)),
        picture.getpixel((GAP + 200, GAP + 70)),
    )
    below = picture.getpixel((GAP + 80, GAP + 120))
    assert outside == below == GRAY
    mixed = [round(0.6 * gray + 0.4 * tint) for gray, tint in zip(GRAY, color_of(2), strict=True)]
    assert np.abs(np.array(inside) - mixed).max() <= 1


def test_the_legend_of_a_segmentation_names_what_the_mask_holds(tmp_path: Path, said: Said) -> None:
    classes = torch.full((40, 40), 2)
    classes[:10] = 3
    classes[20, 20] = 1
    logits = torch.nn.functional.one_hot(classes, 4).permute(2, 0, 1)[None].float()
    output = DenseOutput(STUDENT, logits=logits)
    with MaskFolder(tmp_path, Options(NAMES)) as masks:
        masks.write([Predicted("a.jpg", (40, 40), (40, 40))], output)
        picture = masks.draw(on((40, 40), 40), output)
    written = np.asarray(Image.open(tmp_path / "a.png"))
    assert list(said.legend) == [2, 3, 1]
    assert set(said.legend) == set(np.unique(written).tolist())
    assert list(said.legend.values()) == ["dog (75 %)", "bird (25 %)", "cat (< 1 %)"]
    # Enlarged eightfold: edges of classes stay sharp.
    tinted = np.asarray(picture)[GAP : GAP + 320, 2 * GAP + 320 : 2 * GAP + 640]
    assert len(np.unique(tinted.reshape(-1, 3), axis=0)) == 3


def test_pictures_of_a_training_name_the_classes_of_truth_and_prediction(said: Said) -> None:
    images = torch.rand(2, 3, 16, 16)
    masks = torch.full((2, 16, 16), 255)
    masks[0, :4] = 1
    logits = torch.zeros(2, 4, 16, 16)
    logits[:, 2] = 1
    truth = [{"mask": mask} for mask in masks]
    output = DenseOutput(STUDENT, logits=logits)
    dense.draw_dense(images, truth, output, PLAIN, NAMES.__getitem__)
    assert said.legend == {1: "cat", 2: "dog"}
    found = detected([[1, 1, 5, 5], [2, 2, 9, 9]], [0.9, 0.1], [3, 2])
    boxed = [{"boxes": torch.tensor([[1.0, 1, 6, 6]]), "labels": torch.tensor([1])}]
    dense.draw_dense(images[:1], boxed, found, PLAIN, NAMES.__getitem__)
    assert said.legend == {1: "cat", 3: "bird"}
