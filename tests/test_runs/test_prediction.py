"""Predictions of photographs without labels: what is found, read, placed and written."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from src.datamodules.digits import DigitScenes
from src.datamodules.unlabelled import find_photographs
from src.errors import InputError
from src.modules.backbones.output import SparseOutput
from src.modules.heads.base import DenseOutput
from src.pictures.overlays import draw_objects
from src.predictions.base import Options, PictureNames, Predicted
from src.predictions.boxes import BoxLines
from src.predictions.label_sets import LabelSetTable
from src.predictions.labels import LabelTable
from src.predictions.masks import MaskFolder
from src.predictions.placing import boxes_on, part_of_frame
from tests.helpers import ROOT, one_process, run


def student(logits: torch.Tensor) -> SparseOutput:
    return SparseOutput(logits, torch.zeros(len(logits), 0, 0), torch.zeros(len(logits), 0))


def photographs(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 4)).save(folder / name)


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_folders_files_patterns_and_lists_are_found(tmp_path, monkeypatch):
    photographs(tmp_path, "in/b10.png", "in/b2.png", "in/deep/er/a.jpg", "in/.hidden/x.png")
    (tmp_path / "in/notes.txt").write_text("none")
    (tmp_path / "in/deep/round").symlink_to(tmp_path / "in")
    names = ["b2.png", "b10.png", "deep/er/a.jpg"]
    assert [one.name for one in find_photographs(str(tmp_path / "in"))] == names
    assert [one.name for one in find_photographs(f"{tmp_path}/in/b2.png")] == ["b2.png"]
    assert [one.name for one in find_photographs(f"{tmp_path}/in/deep/er/*")] == ["a.jpg"]
    assert [one.name for one in find_photographs(f"{tmp_path}/in/*.png")] == names[:2]
    (tmp_path / "list.txt").write_text("in/deep/er/a.jpg\n\nin/b2.png\n")
    listed = find_photographs(f"{tmp_path}/list.txt")
    assert [one.name for one in listed] == ["deep/er/a.jpg", "b2.png"]
    monkeypatch.chdir(tmp_path / "in")
    assert [one.name for one in find_photographs(["b2.png", "b10.png"])] == ["b2.png", "b10.png"]


@pytest.mark.parametrize(
    ("images", "said"),
    [
        (None, "images is not set"),
        ("empty", "has no photographs"),
        ("missing", "does not exist"),
        ("nothing/*.jpg", "has no photographs"),
        ("list.txt", "lists gone.jpg in line 1, which does not exist"),
    ],
)
def test_nothing_found_is_one_sentence(tmp_path, monkeypatch, images, said):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "list.txt").write_text("gone.jpg\n")
    with pytest.raises(InputError, match=said):
        find_photographs(images)


def test_boxes_are_in_pixels_of_the_photograph():
    """160 x 100 pixels fill 80 x 50 of a frame of 80: a pixel of the frame is 2 of them."""
    assert part_of_frame((160, 100), (80, 80)) == (80, 50)
    assert part_of_frame((100, 160), (80, 80)) == (50, 80)
    boxes = torch.tensor([[8.0, 10, 40, 50], [-1, 0, 80, 80]])
    assert boxes_on(boxes, (160, 100), (80, 80)).tolist() == [[16, 20, 80, 100], [0, 0, 160, 100]]


def test_lines_of_boxes(tmp_path):
    found = {
        "boxes": torch.tensor([[0.0, 0, 4, 4], [8, 10, 40, 50]]),
        "scores": torch.tensor([0.25, 0.5]),
        "labels": torch.tensor([1, 2]),
    }
    output = DenseOutput(student(torch.zeros(1, 0)), detections=(found,))
    with BoxLines(tmp_path / "a.jsonl", Options(("ground", "cat", "dog"))) as lines:
        lines.write([Predicted("a.jpg", (160, 100), (80, 80))], output)
    assert json.loads((tmp_path / "a.jsonl").read_text()) == {
        "file": "a.jpg",
        "width": 160,
        "height": 100,
        "boxes": [[16, 20, 80, 100], [0, 0, 8, 8]],
        "scores": [0.5, 0.25],
        "labels": [2, 1],
        "classes": ["dog", "cat"],
    }


def test_masks_have_the_size_of_the_photograph(tmp_path):
    """The right half of 16 x 8 pixels is class 1; what pads the frame is class 2 and is cut off."""
    scores = torch.zeros(1, 3, 8, 8)
    scores[:, 0, :4, :4] = scores[:, 1, :4, 4:] = scores[:, 2, 4:] = 1
    output = DenseOutput(student(torch.zeros(1, 0)), logits=scores)
    for colored in (False, True):
        with MaskFolder(tmp_path, Options(colored=colored)) as masks:
            masks.write([Predicted("in/a.jpg", (16, 8), (8, 8))], output)
        with Image.open(tmp_path / "in/a.png") as opened:
            mask, mode = np.asarray(opened), opened.mode
        assert mask.shape == (8, 16)
        assert (mask[:, :8] == 0).all()
        assert (mask[:, 8:] == 1).all()
    assert mode == "P"


def test_names_of_pictures_are_one_image_s_alone():
    names = PictureNames()
    assert [names.of(name) for name in ("x/a.jpg", "x/a.PNG", "b.jpg")] == [
        "x/a.png",
        "x/a.PNG.png",
        "b.png",
    ]


def test_tables_of_labels(tmp_path):
    logits = torch.log(torch.tensor([[0.2, 0.7, 0.1]]))
    image = [Predicted("=a.jpg", (8, 8), (8, 8))]
    with LabelTable(tmp_path / "a.csv", Options(("x", "y", "z"), top_k=2)) as labels:
        labels.write(image, student(logits))
    assert (tmp_path / "a.csv").read_text().splitlines() == [
        "file,prediction,confidence,prediction_2,confidence_2",
        "'=a.jpg,y,0.7000,x,0.2000",
    ]
    with LabelTable(tmp_path / "b.csv", Options()) as labels:
        labels.write(image, student(logits))
    assert (tmp_path / "b.csv").read_text().splitlines()[1] == "'=a.jpg,1,0.7000"
    sets = torch.logit(torch.tensor([[0.6, 0.2, 0.9]]))
    with LabelSetTable(tmp_path / "c.csv", Options(("x", "y", "z"))) as several:
        several.write(image, student(sets))
    assert (tmp_path / "c.csv").read_text().splitlines() == [
        "file,labels,x,y,z",
        "'=a.jpg,x|z,0.6000,0.2000,0.9000",
    ]


def test_a_table_that_is_interrupted_leaves_the_older_one(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("older")
    with pytest.raises(KeyboardInterrupt), LabelTable(path, Options()) as labels:  # noqa: PT012
        labels.write([Predicted("a.jpg", (8, 8), (8, 8))], student(torch.zeros(1, 2)))
        raise KeyboardInterrupt
    assert path.read_text() == "older"
    assert list(tmp_path.iterdir()) == [path]


def test_objects_are_drawn_with_a_legend():
    photograph = Image.new("RGB", (480, 240), (90, 90, 90))
    boxes = torch.tensor([[20.0, 40, 140, 200], [220, 60, 380, 180], [0, 0, 9, 9]])
    scores, labels = torch.tensor([0.93, 0.71, 0.1]), torch.tensor([3, 5, 7])
    names = {3: "tabby cat", 5: "dog", 7: "unsure"}
    picture = draw_objects(photograph, boxes, scores, labels, names)
    assert picture.width > 480
    assert len(picture.getcolors(1 << 16)) > 4


@pytest.fixture
def digits(tmp_path: Path) -> Path:
    """Folders of drawn digits, as class folders have them."""
    plain = {"mean": (0.0,) * 3, "std": (1.0,) * 3}
    scenes = DigitScenes(train=False, length=60, image_size=80, seed=0, **plain)
    for split in ("train", "val"):
        for digit in range(10):
            (tmp_path / "data" / split / str(digit)).mkdir(parents=True)
    for number in range(60):
        image, label = scenes[number]
        pixels = (255 * image.permute(1, 2, 0).numpy()).round().astype(np.uint8)
        for split in ("train", "val"):
            Image.fromarray(pixels).save(tmp_path / f"data/{split}/{label}/{number}.png")
    return tmp_path


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_prediction_equals_evaluation_and_names_what_it_cannot_read(digits, capfd):
    words = ["backbone=vit_micro", "trainer=cpu", "callbacks.progress=null", "rho=0.5"]
    words += ["datamodule=imagenet", f"datamodule.root={digits}/data", "datamodule.num_workers=0"]
    with one_process(digits):
        assert run([ROOT / "eval.py", *words, "predictions=eval.csv", "hydra.run.dir=e"]) == 0
    (digits / "data/val/0/bad.jpg").write_bytes(b"\xff\xd8\xff\xe0cut")
    with one_process(digits):
        assert run([ROOT / "predict.py", *words, "images=data/val", "hydra.run.dir=p"]) == 0
    evaluated, predicted = table(digits / "eval.csv"), table(digits / "p/predictions.csv")
    assert [tuple(row.values()) for row in predicted] == [
        (row["image"], row["prediction"], row["confidence"]) for row in evaluated
    ]
    assert len(predicted) == 60
    assert (
        "1 of 61 photographs cannot be read and are left out: 0/bad.jpg" in capfd.readouterr().err
    )
