"""Images that cannot be read, under `datamodule.on_bad_image=skip`."""

import logging
from pathlib import Path

import lightning as L
import numpy as np
import pytest
import torch
from PIL import Image

from src.callbacks.predictions import PredictionWriter
from src.config import compose_config, instantiate
from src.datamodules.resumable import drawn_from
from src.errors import InputError

SIDE = 80


def write(root: Path) -> Path:
    rng = np.random.default_rng(0)
    for split in ("train", "val"):
        for name in ("one", "two"):
            (root / split / name).mkdir(parents=True)
            for number in range(10):
                pixels = rng.integers(0, 256, (90, 100, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(root / split / name / f"{number}.png")
    return root


def spoil(root: Path, *names: str) -> None:
    for name in names:
        file = root / name
        file.write_bytes(file.read_bytes()[:3000])


def make(root: Path, policy: str = "skip", workers: int = 0, batch_size: int = 2):
    settings = compose_config(["datamodule=imagenet"], ["datamodule"])["datamodule"]
    changes = {
        "root": str(root),
        "network": "vit_micro_patch8_80",
        "image_size": SIDE,
        "batch_size": batch_size,
        "num_workers": workers,
        "mixup": None,
        "on_bad_image": policy,
        "seed": 3,
    }
    data = instantiate(settings | changes)
    data.check()
    data.setup("fit")
    return data


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write(tmp_path / "photographs")


def evaluated(data, *callbacks):
    torch.manual_seed(0)
    config = compose_config(["debug=smoke"], ["task"])["task"]
    module = instantiate(config, num_classes=data.num_classes)
    trainer = L.Trainer(
        accelerator="cpu",
        devices=1,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        callbacks=list(callbacks),
    )
    return trainer.test(module, data, verbose=False)[0]


@pytest.mark.parametrize("workers", [0, 2])
def test_training_takes_the_next_image_and_says_so(root, workers, caplog):
    spoil(root, "train/one/3.png", "train/two/9.png")
    data = make(root, workers=workers)
    images = data.train_dataset().images
    for bad, instead in ((3, 4), (19, 0)):
        with drawn_from(0):
            found, label = data.train_dataset()[bad]
        with drawn_from(0):
            wanted, wanted_label = images[instead]
        assert torch.equal(found, wanted)
        assert label == wanted_label
    data = make(root, workers=workers)
    assert len(torch.cat([labels for _, labels in data.train_dataloader()])) == 20
    with caplog.at_level(logging.WARNING):
        data.teardown("fit")
    (said,) = caplog.messages
    assert said.startswith("2 of 20 images cannot be read and are left out: ")
    assert "train/one/3.png, " in said
    assert said.endswith("train/two/9.png.")


def test_training_is_the_same_whoever_loads_it(root):
    spoil(root, "train/one/3.png")
    alone, shared = ([*make(root, workers=n).train_dataloader()] for n in (0, 2))
    for (one, one_label), (other, other_label) in zip(alone, shared, strict=True):
        assert torch.equal(one, other)
        assert torch.equal(one_label, other_label)


@pytest.mark.parametrize("workers", [0, 2])
def test_evaluation_counts_only_what_it_has_read(root, workers, tmp_path, caplog):
    bad = "val/one/4.png", "val/one/5.png"  # a whole batch
    kept = write(tmp_path / "kept")
    for name in bad:
        (kept / name).unlink()
    wanted_file, found_file = tmp_path / "wanted.csv", tmp_path / "found.csv"
    data = make(kept, batch_size=3)
    wanted = evaluated(data, PredictionWriter(str(wanted_file), data.val_filenames()))

    spoil(root, *bad)
    data = make(root, workers=workers)
    with caplog.at_level(logging.WARNING):
        found = evaluated(data, PredictionWriter(str(found_file), data.val_filenames()))
    assert found == wanted
    assert [row.split(",")[:3] for row in found_file.read_text().splitlines()] == [
        row.split(",")[:3] for row in wanted_file.read_text().splitlines()
    ]
    (said,) = [message for message in caplog.messages if "cannot be read" in message]
    assert said.startswith("2 of 20 images cannot be read")


def test_nothing_is_said_where_all_can_be_read(root, caplog):
    data = make(root)
    list(data.train_dataloader())
    with caplog.at_level(logging.WARNING):
        data.teardown("fit")
    assert not caplog.messages


def test_too_many_are_not_left_out(root):
    spoil(root, *(f"val/one/{number}.png" for number in range(3)))
    with pytest.raises(InputError, match=r"3 of 20 images cannot be read, as .*2\.png"):
        list(make(root).val_dataloader())


def test_one_is_an_error_by_default(root):
    spoil(root, "val/one/4.png")
    with pytest.raises(InputError, match=r"4\.png cannot be read"):
        list(make(root, policy="error").val_dataloader())
