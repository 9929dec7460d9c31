"""Several processes predict photographs: each once, in one file, and kills lose nothing."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from src.datamodules.preprocessing import Preprocessing
from src.datamodules.unlabelled import find_photographs
from src.errors import InputError
from src.modules.backbones.output import SparseOutput
from src.modules.heads.base import DenseOutput
from src.predictions.base import Options, Predicted, Predictions
from src.predictions.boxes import BoxLines
from src.predictions.embeddings import EmbeddingTable
from src.predictions.labels import LabelTable
from src.predictions.masks import MaskFolder
from src.predictions.parts import Parts, Unread
from src.runs import prediction
from src.runs.prediction import predict
from src.runs.predictors import Predictor

IMAGES = 101


class Killed(BaseException):
    """The end of a process, as far as a test can have it."""


class Mean(nn.Module):
    """Has the mean of an image as a logit; ends its process behind some batches."""

    def __init__(self, batches: int | None = None) -> None:
        super().__init__()
        self.left = batches

    def forward(self, images: torch.Tensor) -> SparseOutput:
        if self.left is not None:
            if not self.left:
                raise Killed
            self.left -= 1
        mean = images.mean((1, 2, 3))
        logits = torch.stack([mean, -mean], 1)
        return SparseOutput(logits, torch.zeros(len(logits), 0, 0), torch.zeros(len(logits), 0))


@pytest.fixture(scope="module")
def photographs(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("photographs")
    for number in range(IMAGES):
        Image.fromarray(np.full((8, 8, 3), 2 * number, np.uint8)).save(folder / f"{number}.png")
    (folder / "50.png").write_bytes(b"none")
    return folder


def process(
    monkeypatch, photographs, path, rank=None, count=2, batches=None, kind=LabelTable, **more
):
    """Predict as process `rank` of `count` would, as the only one without a rank."""
    for name, value in (("RANK", rank), ("LOCAL_RANK", rank), ("WORLD_SIZE", count)):
        if rank is None:
            monkeypatch.delenv(name, raising=False)
        else:
            monkeypatch.setenv(name, str(value))
    trainer = {"_target_": "lightning.Trainer", "accelerator": "cpu", "devices": 1}
    settings = {
        "trainer": trainer | {"enable_model_summary": False, "enable_progress_bar": False},
        **{
            "top_k": 2,
            "threshold": 0.5,
            "colored": False,
            "pictures": None,
            "min_score": 0.3,
            "datamodule": {},
        },
        **{"batch_size": 4, "num_workers": 0},
        **{"predictions": str(path), "paths": {"run": str(path.parent)}},
    } | more
    half = Preprocessing.of(
        {"input_size": (3, 8, 8), "mean": (0.5,) * 3, "std": (0.5,) * 3}
        | {"interpolation": "bilinear", "crop_pct": 1.0, "crop_mode": "center"}
    )
    predictor = Predictor(Mean(batches), kind, half, (8, 8), None, settings)
    return predict(predictor, find_photographs(str(photographs)))


def test_a_killed_process_loses_no_written_row(monkeypatch, photographs, tmp_path, capfd, caplog):
    process(monkeypatch, photographs, tmp_path / "alone.csv")
    path = tmp_path / "many.csv"
    with pytest.raises(Killed):
        process(monkeypatch, photographs, path, rank=0, batches=5)
    (part,) = tmp_path.glob(".many.csv.*/0.jsonl")
    written = part.read_bytes()
    assert written.count(b"record") == 20
    part.write_bytes(written + b'\n{"number": 99, "rec')  # a line that was cut
    assert process(monkeypatch, photographs, path, rank=1) is None
    assert not path.exists()
    assert process(monkeypatch, photographs, path, rank=0) == path
    assert path.read_bytes() == (tmp_path / "alone.csv").read_bytes()
    with path.open(newline="") as file:
        names = [row["file"] for row in csv.DictReader(file)]
    assert names == [f"{n}.png" for n in range(IMAGES) if n != 50]
    assert sorted(file.name for file in tmp_path.iterdir()) == ["alone.csv", "many.csv"]
    said = capfd.readouterr().out
    assert "Process 2 of 2: 50 photographs, " in said
    assert "Process 1 of 2: 31 photographs, " in said  # 51 less those of five batches
    assert any("1 of 101 photographs cannot be read" in one and "50.png" in one
               for one in caplog.messages)  # fmt: skip


def test_another_number_of_processes_goes_on(monkeypatch, photographs, tmp_path):
    process(monkeypatch, photographs, tmp_path / "alone.csv")
    path = tmp_path / "many.csv"
    with pytest.raises(Killed):
        process(monkeypatch, photographs, path, rank=1, batches=3)
    with pytest.raises(Killed):  # other settings make other parts
        process(monkeypatch, photographs, path, rank=1, batches=3, top_k=1)
    for rank in range(3):
        process(monkeypatch, photographs, path, rank=rank, count=3)
    assert path.read_bytes() == (tmp_path / "alone.csv").read_bytes()


def test_none_can_be_read(monkeypatch, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.png").write_bytes(b"none")
    with pytest.raises(InputError, match="None of the 1 photographs can be read"):
        process(monkeypatch, tmp_path / "in", tmp_path / "a.csv", rank=0, count=1)
    assert not (tmp_path / "a.csv").exists()


def written(kind: type[Predictions], path: Path, output: object, *, parts: bool) -> None:
    images = [Predicted(name, (8, 8), (8, 8)) for name in ("a.png", "a.jpg")]
    predictions = kind(path, Options())
    predictions.reserve([image.name for image in images])
    if not parts:
        with predictions:
            predictions.write(images, output)
        return
    kept: list[object] = []
    predictions.keep = kept.extend
    predictions.write(images, output)
    part = Parts(path, {}, 0, 2)
    part.add([1, 0], kept[::-1], [])
    predictions.keep = None
    assert part.join(predictions) == []


@pytest.mark.parametrize(
    ("kind", "name"),
    [(LabelTable, "a.csv"), (EmbeddingTable, "a.csv"), (EmbeddingTable, "a.npz"),
     (BoxLines, "a.jsonl"), (MaskFolder, "masks")],
)  # fmt: skip
def test_every_kind_is_the_same_by_parts(kind, name, tmp_path):
    torch.manual_seed(0)
    student = SparseOutput(torch.rand(2, 3), torch.zeros(2, 0, 0), torch.zeros(2, 0))
    boxes = {
        "boxes": torch.tensor([[1.0, 2, 5, 6]]),
        "scores": torch.tensor([0.5]),
        "labels": torch.tensor([1]),
    }
    output: object = student
    if kind in (BoxLines, MaskFolder):
        output = DenseOutput(student, torch.rand(2, 3, 8, 8), {}, (boxes, boxes))
    for parts in (False, True):
        (tmp_path / str(parts)).mkdir()
        written(kind, tmp_path / str(parts) / name, output, parts=parts)
    for file in (tmp_path / "False").rglob("*.*"):
        other = tmp_path / "True" / file.relative_to(tmp_path / "False")
        if name == "a.npz":
            for key, values in np.load(file).items():
                assert (values == np.load(other)[key]).all()
        else:
            assert other.read_bytes() == file.read_bytes()
    assert len(list((tmp_path / "True").rglob("*.*"))) == len(
        list((tmp_path / "False").rglob("*.*"))
    )


def test_a_kind_that_records_nothing_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"calls self\.emit"):
        Parts(tmp_path / "a", {}, 0, 2).add([0, 1], [], [Unread(2, "cut")])


def test_without_torchrun_nothing_changes(monkeypatch):
    monkeypatch.delenv("RANK", raising=False)
    assert prediction.launched() is None
