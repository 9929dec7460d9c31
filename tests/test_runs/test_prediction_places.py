"""Predictions overwrite no photograph, and never join rows of other photographs or settings."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from src.datamodules.unlabelled import find_photographs
from src.errors import InputError
from src.modules.backbones.output import SparseOutput
from src.modules.heads.base import DenseOutput
from src.predictions.base import Options, PictureNames
from src.predictions.masks import MaskFolder
from tests.test_runs.test_shared_prediction import Killed, process


def folder_of(place: Path, brightness: int, count: int = 12) -> Path:
    place.mkdir()
    for number in range(count):
        pixels = np.full((8, 8, 3), brightness + number, np.uint8)
        Image.fromarray(pixels).save(place / f"{number}.png")
    return place


@pytest.mark.parametrize("setting", ["pictures", "predictions", "link"])
def test_a_photograph_is_not_overwritten(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, setting: str
) -> None:
    photographs = folder_of(tmp_path / "in", 10)
    before = (photographs / "3.png").read_bytes()
    path, more = tmp_path / "a.csv", {}
    if setting == "pictures":
        more = {"pictures": str(photographs)}
    elif setting == "predictions":
        path = photographs / "3.png"
    else:
        (tmp_path / "link").symlink_to(photographs)
        more = {"pictures": str(tmp_path / "link")}
    with pytest.raises(InputError, match=r"would be written over the photograph .*png: name anoth"):
        process(monkeypatch, photographs, path, **more)
    assert (photographs / "3.png").read_bytes() == before


def test_masks_name_their_files_before(tmp_path: Path) -> None:
    masks = MaskFolder(tmp_path, Options())
    masks.reserve(["x/a.jpg", "x/a.png", "b.webp"])
    assert masks.files() == [tmp_path / name for name in ("x/a.png", "x/a.png.png", "b.png")]


def test_no_two_pictures_have_one_name() -> None:
    names = PictureNames()
    given = ["a.jpg.png", "a.png", "a.jpg", "a.JPG", "a.webp"]
    found = [names.of(name) for name in given]
    assert found == ["a.jpg.png", "a.png", "a.jpg.2.png", "a.JPG.3.png", "a.webp.png"]
    assert len({name.casefold() for name in found}) == len(given)


def killed(monkeypatch: pytest.MonkeyPatch, photographs: Path, path: Path, **more: object) -> None:
    with pytest.raises(Killed):
        process(monkeypatch, photographs, path, rank=0, count=1, batches=1, **more)


def test_rows_of_other_photographs_are_not_joined(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A second folder of the same names, under the path that an interrupted run was to write."""
    first, second = folder_of(tmp_path / "first", 10), folder_of(tmp_path / "second", 200)
    killed(monkeypatch, first, tmp_path / "a.csv")
    process(monkeypatch, second, tmp_path / "a.csv", rank=0, count=1)
    process(monkeypatch, second, tmp_path / "alone.csv")
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "alone.csv").read_bytes()


@pytest.mark.parametrize("changed", ["views", "precision"])
def test_rows_of_other_settings_are_not_joined(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, changed: str
) -> None:
    photographs, path = folder_of(tmp_path / "in", 10), tmp_path / "a.csv"
    plain = {"enable_model_summary": False, "enable_progress_bar": False}
    trainer = {"_target_": "lightning.Trainer", "accelerator": "cpu", "devices": 1} | plain
    data = {"views": {"clips": 1, "crops": 1}, "batch_size": 4}
    killed(monkeypatch, photographs, path, datamodule=data, trainer=trainer)
    killed(monkeypatch, photographs, path, datamodule=data | {"batch_size": 8}, trainer=trainer)
    assert len([*tmp_path.glob(".a.csv.*.parts")]) == 1
    if changed == "views":
        data = data | {"views": {"clips": 2, "crops": 1}}
    else:
        trainer = trainer | {"precision": "bf16-mixed"}
    killed(monkeypatch, photographs, path, datamodule=data, trainer=trainer)
    assert len([*tmp_path.glob(".a.csv.*.parts")]) == 2


def test_outputs_that_are_no_numbers_are_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def forward(self: object, images: torch.Tensor) -> SparseOutput | DenseOutput:
        logits = images.new_zeros(len(images), 2)
        logits[1] = torch.nan
        return SparseOutput(logits, logits[:, :0, None], logits[:, :0])

    monkeypatch.setattr("tests.test_runs.test_shared_prediction.Mean.forward", forward)
    with pytest.raises(InputError, match=r"no numbers \(NaN\) for photographs as 1\.png: predict"):
        process(monkeypatch, folder_of(tmp_path / "in", 10), tmp_path / "a.csv")
    assert not (tmp_path / "a.csv").exists()


def test_a_photograph_that_is_named_in_two_ways_counts_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = folder_of(tmp_path / "in", 10, count=2)
    monkeypatch.chdir(tmp_path)
    with caplog.at_level(logging.WARNING):
        find_photographs("in")
        assert not caplog.messages
        found = find_photographs(["in/0.png", str(folder / "0.png"), "in/../in/0.png", "in"])
    assert [photograph.name for photograph in found] == ["0.png", "1.png"]
    assert "names 3 photographs more than once: each counts once" in caplog.messages[0]
    (tmp_path / "list.txt").write_text("in/1.png\nin/0.png\nin/1.png\n")
    with caplog.at_level(logging.WARNING):
        found = find_photographs("list.txt")
    assert [photograph.name for photograph in found] == ["1.png", "0.png"]
    assert "names 1 photographs more than once" in caplog.messages[1]
    shutil.copy(folder / "0.png", folder / "2.png")  # the same content is another photograph
    assert len(find_photographs("in")) == 3


def test_photographs_that_are_shown_turned_are_said(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = folder_of(tmp_path / "in", 10, count=3)
    for name, orientation in (("a.jpg", 1), ("b.jpg", 6), ("c.jpg", 3)):
        exif = Image.Exif()
        exif[274] = orientation
        Image.new("RGB", (8, 8)).save(folder / name, exif=exif)
    with caplog.at_level(logging.WARNING):
        process(monkeypatch, folder, tmp_path / "a.csv")
    said = [message for message in caplog.messages if "EXIF" in message]
    assert len(said) == 1
    assert said[0].startswith("2 photographs have an EXIF orientation, as b.jpg, and are predicted")
