"""A run that was stopped and resumed ends as one that was not: bit for bit, on the CPU."""

import csv
import os
import random
import signal
import time
from pathlib import Path

import lightning as L
import numpy as np
import pytest
import torch
import wandb
from lightning.pytorch.callbacks import EMAWeightAveraging, ModelCheckpoint
from PIL import Image

from src.callbacks.freeze_backbone import FreezeBackbone
from src.callbacks.step_checkpoint import StepCheckpoint
from src.checkpoints.atomic_io import AtomicCheckpointIO
from src.config import compose_config, instantiate
from src.datamodules.digits import Digits
from src.datamodules.resumable import drawn_from, seed_all
from src.loggers.wandb import ContinuedWandbLogger
from src.shell.program import sentences_of
from tests.forked import Forked
from tests.helpers import ROOT, SHALLOW, one_process, run

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
    config = compose_config(["debug=smoke", *SHALLOW], ["task"])["task"]
    module = instantiate(config, num_classes=data.num_classes)
    if resume:
        torch.manual_seed(99)
    options = {"dirpath": folder, "enable_version_counter": False}
    saved = [
        ModelCheckpoint(filename="last", **options),
        StepCheckpoint(filename="recent", steps=1, **options),
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


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "kills"),
    [("digits", (1, 3, 4, 5, 6, 7)), ("photographs", (2, 6))],
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


def command_line(folder: Path, *arguments: str) -> list[str]:
    command = ["train.py", "debug=smoke", "trainer.max_epochs=3"]
    small = [*SHALLOW, "callbacks.token_maps=null", "callbacks.progress=null"]
    small += ["callbacks.throughput=null", "callbacks.complexity=null"]
    steps = ["callbacks.recent.minutes=null", "callbacks.recent.steps=1"]
    return [*command, *small, *steps, f"hydra.run.dir={folder}", *arguments]


def start(folder: Path, *arguments: str) -> Forked:
    return Forked(command_line(folder, *arguments))


def wait_for(condition, process: Forked, seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.02)


def last_state(folder: Path) -> dict:
    return torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)


def logged(folder: Path) -> list[dict]:
    # Not keep/: an epoch's means cover what was trained since the resumption.
    ours = ("train/", "val/", "val_keep/")
    with (folder / "csv" / "metrics.csv").open(newline="") as file:
        rows = [
            {k: v for k, v in row.items() if v and (k == "step" or k.startswith(ours))}
            for row in csv.DictReader(file)
        ]
    return [row for row in rows if len(row) > 1]


@pytest.mark.slow
def test_a_process_that_is_stopped_and_one_that_is_killed_go_on(tmp_path):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    with one_process(ROOT):
        assert run(command_line(whole, "ckpt_path=last")) == 0  # there is none: starts afresh

    process = start(parts)
    recent = parts / "checkpoints" / "recent.ckpt"
    wait_for(recent.is_file, process)
    stopped = time.monotonic()
    process.send_signal(signal.SIGTERM)
    _, told = process.communicate(timeout=60)
    assert time.monotonic() - stopped < 10
    assert process.returncode == 128 + signal.SIGTERM, told
    assert f"ckpt_path=last hydra.run.dir={parts}" in told

    before = recent.stat().st_mtime_ns
    process = start(parts, "ckpt_path=last")
    wait_for(lambda: recent.stat().st_mtime_ns != before, process)
    process.kill()
    process.communicate()
    (parts / "checkpoints" / "torn.ckpt").write_bytes(recent.read_bytes()[:5000])

    process = start(parts, "ckpt_path=last")
    _, told = process.communicate(timeout=300)
    assert process.returncode == 0, told
    assert "torn.ckpt is not a whole weights file" in told
    wanted, found = last_state(whole), last_state(parts)
    assert wanted["global_step"] == found["global_step"]
    for key, value in wanted["state_dict"].items():
        assert torch.equal(value, found["state_dict"][key]), key
    # A step's row follows its checkpoint: a kill in between loses that row.
    rows = logged(parts)
    assert all(row in logged(whole) for row in rows)
    assert len(rows) >= len(logged(whole)) - 1


@pytest.fixture
def full_disk():
    """No file may grow beyond a million bytes."""
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10**6, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_leaves_the_older_file_whole(tmp_path, full_disk):
    path = tmp_path / "last.ckpt"
    AtomicCheckpointIO().save_checkpoint({"weights": torch.ones(3)}, path)
    with pytest.raises(OSError, match="File too large") as full:
        AtomicCheckpointIO().save_checkpoint({"weights": torch.ones(10**6)}, path)
    assert sentences_of(full.value) == [f"{path} cannot be written or read: File too large."]
    assert torch.equal(torch.load(path)["weights"], torch.ones(3))
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.slow
def test_the_same_wandb_run_goes_on(tmp_path):
    def logger(continues: str | None) -> ContinuedWandbLogger:
        return ContinuedWandbLogger(
            save_dir=str(tmp_path), project="p", offline=True, continues=continues
        )

    first = logger(None)
    name = first.experiment.id
    wandb.finish()
    resumed = logger("last").experiment.id
    wandb.finish()
    other = logger(None).experiment.id
    wandb.finish()
    assert resumed == name != other
    assert logger("elsewhere.ckpt")._wandb_init["id"] == other  # the latest of the folder


@pytest.mark.parametrize("later", ["a1", "b-2"])
def test_of_wandb_runs_begun_within_a_second_the_later_goes_on(tmp_path, later):
    for folder, name in (("a1", "a1"), ("a1-1", "a1"), ("b-2", "b-2"), ("b-2-1", "b-2")):
        run = tmp_path / "wandb" / f"offline-run-20260102_030405-{folder}"
        run.mkdir(parents=True)
        (run / f"run-{name}.wandb").touch()
        os.utime(run, ns=(0, 2 if name == later else 1))
    logger = ContinuedWandbLogger(save_dir=str(tmp_path), offline=True, continues="last.ckpt")
    assert logger._wandb_init["id"] == later
