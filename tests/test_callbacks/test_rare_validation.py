"""Each epoch's end is saved and can be gone on from, however often a training is validated."""

from __future__ import annotations

from pathlib import Path

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint

from src.checkpoints.atomic_io import AtomicCheckpointIO
from src.config import compose_config, instantiate
from tests.helpers import quiet_trainer
from tests.test_callbacks.test_resumed_training import Line

pytestmark = pytest.mark.filterwarnings("ignore")
EPOCHS = 5


class Validated(Line):
    """Notes behind which step it is validated."""

    def __init__(self, notes: list[int]) -> None:
        super().__init__()
        self.notes = notes

    def validation_step(self, batch: torch.Tensor, batch_idx: int) -> None:
        self.log("val/acc1", self.line.weight.item())

    def on_validation_epoch_end(self) -> None:
        self.notes.append(self.trainer.global_step)

    def val_dataloader(self) -> torch.utils.data.DataLoader:
        return torch.utils.data.DataLoader(torch.ones(1, 1))


class Ended(Exception):
    """The end of a process."""


class EndBehind(L.Callback):
    """Ends at the first step of an epoch."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch

    def on_train_epoch_start(self, trainer, pl_module) -> None:
        if trainer.current_epoch == self.epoch:
            raise Ended


def saving(folder: Path) -> list[ModelCheckpoint]:
    """What `conf` saves at validations and epochs' ends."""
    callbacks = compose_config([f"paths.run={folder}"], ["callbacks"])["callbacks"]
    return [instantiate(callbacks[name]) for name in ("checkpoint", "last")]


def fit(folder: Path, notes: list[int], end: int = EPOCHS, **options: float) -> float:
    """Go on with the training in a folder, which ends before epoch `end`."""
    module, last = Validated(notes), folder / "checkpoints" / "last.ckpt"
    trainer = quiet_trainer(
        max_epochs=EPOCHS,
        callbacks=[*saving(folder), EndBehind(end)],
        plugins=AtomicCheckpointIO(),
        **options,
    )
    try:
        trainer.fit(module, ckpt_path=last if last.is_file() else None)
    except Ended:
        assert end < EPOCHS
    return module.line.weight.item()


@pytest.mark.parametrize(
    "options",
    [{}, *({"check_val_every_n_epoch": n} for n in (2, 3, 9)), {"val_check_interval": 0.5}],
    ids=lambda options: "".join(f"{value}" for value in options.values()) or "each",
)
def test_every_epoch_is_saved_and_gone_on_from(options, tmp_path):
    whole, parts = [], []
    weight = fit(tmp_path / "whole", whole, **options)
    for end in range(1, EPOCHS):
        fit(tmp_path / "parts", parts, end, **options)
        last = torch.load(tmp_path / "parts" / "checkpoints" / "last.ckpt", weights_only=True)
        assert last["global_step"] == 8 * end
    assert fit(tmp_path / "parts", parts, **options) == weight
    assert parts == whole
    best = tmp_path / "parts" / "checkpoints" / "best.ckpt"
    assert best.is_file() is bool(whole)
