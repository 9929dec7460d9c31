"""Writing shards: the images of the folders with their classes, and calls that go on."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from src.datamodules import shards
from src.datamodules.shards import main
from src.errors import InputError
from tests.test_datamodules.test_shard_resume import make

pytest.importorskip("webdataset")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for split, count in (("train", 4), ("val", 2)):
        for name in ("ant", "bee"):
            for number in range(count):
                path = tmp_path / "in" / split / name / f"{number}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(rng.integers(0, 256, (24, 24, 3), dtype=np.uint8)).save(path)
    return tmp_path / "in"


def images(data) -> list[tuple[int, float]]:
    data.check()
    data.setup("fit")
    return sorted((label, float(image.sum())) for image, label in
                  (data.val_dataset()[number] for number in range(4)))  # fmt: skip


def test_shards_hold_the_images_of_the_folders(folder, tmp_path):
    out = tmp_path / "out"
    main([str(folder), str(out), "--images", "3"])
    info = json.loads((out / "_info.json").read_text())
    assert info["splits"]["train"]["shard_lengths"] == [3, 3, 2]
    packed = make(out, num_classes=None, mixup=None)
    plain = make(folder, num_classes=None, mixup=None, dataset="")
    assert images(packed) == images(plain)
    assert packed.class_names == plain.class_names == ("ant", "bee")
    assert packed.num_classes == 2
    labels = torch.cat([labels for _, labels in packed.train_dataloader()]).tolist()
    assert sorted(labels) == [0] * 4 + [1] * 4


def test_a_call_that_was_stopped_goes_on(folder, tmp_path, monkeypatch):
    out = tmp_path / "out"
    pack, packed = shards._pack, []

    def stop(file: Path, samples) -> None:
        if len(packed) == 2:
            raise KeyboardInterrupt
        packed.append(file.name)
        pack(file, samples)

    monkeypatch.setattr(shards, "_pack", stop)
    with pytest.raises(KeyboardInterrupt):
        main([str(folder), str(out), "--images", "3"])
    assert sorted(file.name for file in out.iterdir()) == packed
    (out / packed[1]).write_bytes((out / packed[1]).read_bytes()[:700])
    monkeypatch.setattr(
        shards, "_pack", lambda file, one: packed.append(file.name) or pack(file, one)
    )
    main([str(folder), str(out), "--images", "3"])
    assert packed[2:] == [packed[1], "train-000002.tar", "validation-000000.tar",
                          "validation-000001.tar"]  # fmt: skip
    assert len(images(make(out, num_classes=None, mixup=None))) == 4


def test_faults_are_sentences(folder, tmp_path):
    with pytest.raises(InputError, match="--images 0 is not possible"):
        main([str(folder), str(tmp_path / "out"), "--images", "0"])
    with pytest.raises(InputError, match="is not a folder"):
        main([str(tmp_path / "none"), str(tmp_path / "out")])
