"""A run whose folder was moved or copied keeps its best checkpoint."""

from __future__ import annotations

from pathlib import Path

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import nn

from src.callbacks.moved_run import MovedRun
from tests.helpers import quiet_trainer

pytestmark = pytest.mark.filterwarnings("ignore")


class Scored(L.LightningModule):
    """Is validated with the next of its scores after each epoch."""

    def __init__(self, *scores: float) -> None:
        super().__init__()
        self.line = nn.Linear(1, 1)
        self.scores = scores

    def training_step(self, batch: torch.Tensor, batch_idx: int) -> torch.Tensor:
        return self.line(batch).square().mean()

    def validation_step(self, batch: torch.Tensor, batch_idx: int) -> None:
        self.log("score", self.scores[self.trainer.current_epoch])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.01)

    def train_dataloader(self) -> torch.utils.data.DataLoader:
        return torch.utils.data.DataLoader(torch.ones(2, 1))

    val_dataloader = train_dataloader


def fit(folder: Path, *scores: float, resumed: Path | None = None, moves: bool = True) -> None:
    """Train for as many epochs as there are scores."""
    options = {"dirpath": folder, "enable_version_counter": False}
    saved = [
        ModelCheckpoint(filename="best", monitor="score", mode="max", **options),
        ModelCheckpoint(filename="last", **options),
    ]
    trainer = quiet_trainer(
        max_epochs=len(scores),
        callbacks=[*saved, MovedRun()] if moves else saved,
    )
    trainer.fit(Scored(*scores), ckpt_path=resumed)


def best_epoch(folder: Path) -> int:
    return torch.load(folder / "best.ckpt", weights_only=False)["epoch"]


def test_a_moved_run_keeps_its_best(tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    fit(first, 0.9, 0.8, moves=False)  # as by a release that did not know of moves
    kept = best_epoch(first)
    first.rename(second)
    fit(second, 0.9, 0.8, 0.7, resumed=second / "last.ckpt")
    assert best_epoch(second) == kept
    assert not first.exists()
    second.rename(first)
    fit(first, 0.9, 0.8, 0.7, 0.95, resumed=first / "last.ckpt")
    assert best_epoch(first) > kept


def test_a_run_in_a_folder_of_its_own_has_its_own_best(tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    fit(first, 0.9)
    kept = (first / "best.ckpt").read_bytes()
    fit(second, 0.9, 0.8, resumed=first / "last.ckpt")
    assert (second / "best.ckpt").is_file()
    assert (first / "best.ckpt").read_bytes() == kept


def test_a_best_that_was_left_behind_is_followed_by_the_next(tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    fit(first, 0.9)
    second.mkdir()
    (first / "last.ckpt").rename(second / "last.ckpt")
    fit(second, 0.9, 0.8, resumed=second / "last.ckpt")
    assert (second / "best.ckpt").is_file()
