"""A run that was stopped and resumed ends as one that was not: bit for bit, on the CPU."""

import random
from pathlib import Path

import lightning as L
import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import EMAWeightAveraging, ModelCheckpoint
from PIL import Image

from src.callbacks.freeze_backbone import FreezeBackbone
from src.callbacks.step_checkpoint import StepCheckpoint
from src.datamodules.digits import Digits
from src.datamodules.resumable import drawn_from, seed_all
from src.modules.build import compose_config, instantiate

NETWORK = {"network": "vit_micro_patch8_80", "image_size": 80}
MIXUP = {"mixup_alpha": 0.8, "cutmix_alpha": 1.0, "label_smoothing": 0.1}
STEPS = 4  # of an epoch


class Killed(Exception):
    """The end of a process, as far as a test can have it."""


class KillAt(L.Callback):
    def __init__(self, step: int | None) -> None:
        self.step = step

    def on_train_batch_start(self, trainer, *_) -> None:
        if trainer.global_step == self.step:
            raise Killed


@pytest.fixture(scope="session")
def photographs(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("photographs")
    rng = np.random.default_rng(0)
    for split, count in (("train", 5), ("val", 2)):
        for name in ("one", "two"):
            for number in range(count):
                path = root / split / name / f"{number}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(rng.integers(0, 256, (90, 100, 3), dtype=np.uint8)).save(path)
    return root


def make_data(kind: str, root: Path, workers: int = 0) -> L.LightningDataModule:
    common = {**NETWORK, "batch_size": 2, "num_workers": workers, "mixup": MIXUP, "seed": 3}
    if kind == "digits":
        return Digits(train_images=2 * STEPS, val_images=4, **common)
    settings = compose_config(["datamodule=imagenet"], ["datamodule"])["datamodule"]
    return instantiate(settings | common | {"root": str(root)})


def train(folder: Path, data: L.LightningDataModule, kill: int | None, resume: bool) -> dict:
    torch.manual_seed(0)
    random.seed(folder.name)  # what the process drew before must not matter
    data.check()
    config = compose_config(["debug=smoke"], ["task"])["task"]
    module = instantiate(config, num_classes=data.num_classes)
    if resume:
        torch.manual_seed(99)
    options = {"dirpath": folder, "enable_version_counter": False}
    saved = [
        ModelCheckpoint(filename="last", **options),
        StepCheckpoint(filename="recent", every_n_train_steps=1, **options),
    ]
    trainer = L.Trainer(
        max_epochs=2,
        accelerator="cpu",
        devices=1,
        limit_train_batches=STEPS,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        default_root_dir=folder,
        callbacks=[FreezeBackbone(epochs=1), EMAWeightAveraging(decay=0.9), *saved, KillAt(kill)],
    )
    path = max(folder.glob("*.ckpt"), key=lambda p: p.stat().st_mtime_ns) if resume else None
    if kill is None:
        trainer.fit(module, data, ckpt_path=path)
        assert trainer.global_step == 2 * STEPS
    else:
        with pytest.raises(Killed):
            trainer.fit(module, data, ckpt_path=path)
    metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
    return {"weights": module.state_dict(), "metrics": metrics}


@pytest.mark.parametrize(
    ("kind", "kills"),
    [("digits", (1, 3)), ("digits", (4, 5, 6)), ("digits", (7,)), ("photographs", (2, 6))],
)
def test_resumed_equals_uninterrupted(kind, kills, photographs, tmp_path):
    whole = train(tmp_path / "whole", make_data(kind, photographs), None, resume=False)
    for number, kill in enumerate(kills):
        train(tmp_path / "parts", make_data(kind, photographs), kill, resume=number > 0)
    # The machine that goes on may have other workers.
    workers = 1 if kind == "photographs" else 0
    resumed = train(tmp_path / "parts", make_data(kind, photographs, workers), None, resume=True)
    assert resumed["metrics"] == whole["metrics"]
    for key, value in whole["weights"].items():
        assert torch.equal(value, resumed["weights"][key]), key


def test_an_image_is_drawn_by_epoch_and_place_alone(photographs):
    data = make_data("photographs", photographs)
    data.check()
    data.setup("fit")
    images = data.train_dataloader().dataset
    before = torch.random.get_rng_state(), random.getstate()
    first = images[1][0]
    seed_all(5)
    assert torch.equal(first, images[1][0])
    assert not torch.equal(first, images[1 + len(images)][0])
    torch.random.set_rng_state(before[0])
    images[0]
    assert torch.equal(before[0], torch.random.get_rng_state())


def test_draws_inside_leave_those_outside_alone():
    seed_all(1)
    wanted = random.random(), np.random.rand(), torch.rand(())
    seed_all(1)
    with drawn_from(2):
        assert (random.random(), np.random.rand(), torch.rand(())) != wanted
    assert (random.random(), np.random.rand(), torch.rand(())) == wanted


def test_each_epoch_has_its_own_order_and_every_image(photographs):
    data = make_data("photographs", photographs)
    data.check()
    data.setup("fit")
    sampler = data.train_dataloader().sampler
    orders = []
    for epoch in range(2):
        sampler.set_epoch(epoch)
        orders.append([index - epoch * 10 for index in sampler])
    assert orders[0] != orders[1]
    assert sorted(orders[0]) == sorted(orders[1]) == list(range(10))
