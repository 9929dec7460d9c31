"""What is saved can be resumed: between optimizer steps, and at the end with the average."""

from __future__ import annotations

import time
from pathlib import Path

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.utilities.exceptions import SIGTERMException
from torch import nn

from src.callbacks.averaged_weights import AveragedWeights
from src.callbacks.step_checkpoint import StepCheckpoint
from src.callbacks.stop_at_signal import StopAtSignal

pytestmark = pytest.mark.filterwarnings("ignore")


class Line(L.LightningModule):
    """Learns one weight from numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.line = nn.Linear(1, 1, bias=False)
        nn.init.ones_(self.line.weight)

    def training_step(self, batch: torch.Tensor, batch_idx: int) -> torch.Tensor:
        return (self.line(batch) - 3 * batch).square().mean()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.01)

    def train_dataloader(self) -> torch.utils.data.DataLoader:
        return torch.utils.data.DataLoader(torch.arange(1.0, 9.0).unsqueeze(1))


class Note(L.Callback):
    """Notes behind which batch something is saved or ends; batch `at` waits or gets a signal."""

    def __init__(self, at: int, signal: StopAtSignal | None = None) -> None:
        self.saved: list[int] = []
        self.batches = 0
        self.at = at
        self.signal = signal

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx) -> None:
        self.batches = batch_idx + 1
        if self.batches == self.at and self.signal:
            self.signal.received = 15
        elif self.batches == self.at:
            time.sleep(0.3)

    def on_save_checkpoint(self, trainer, pl_module, checkpoint) -> None:
        self.saved.append(self.batches)


def trainer(folder: Path, *callbacks: L.Callback, **options: int) -> L.Trainer:
    return L.Trainer(
        accelerator="cpu",
        devices=1,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
        callbacks=list(callbacks),
        **options,
    )


def test_nothing_is_saved_while_gradients_accumulate(tmp_path):
    note = Note(at=5)
    recent = StepCheckpoint(dirpath=tmp_path, filename="recent", minutes=0.25 / 60)
    training = trainer(tmp_path, note, recent, max_epochs=1, accumulate_grad_batches=3)
    training.fit(Line())
    assert 6 in note.saved
    assert all(batches % 3 == 0 for batches in note.saved)


def test_a_signal_stops_a_training_behind_a_step(tmp_path):
    signals = StopAtSignal()
    note = Note(4, signals)
    training = trainer(tmp_path, note, signals, max_epochs=1, accumulate_grad_batches=3)
    with pytest.raises(SIGTERMException):
        training.fit(Line())
    assert note.batches == 6
    assert training.global_step == 2


def test_an_ended_training_that_is_resumed_has_its_average(tmp_path):
    def fitted(epochs: int, **resumed: Path) -> float:
        module, last = Line(), ModelCheckpoint(tmp_path, "last", enable_version_counter=False)
        average = AveragedWeights(decay=0.9, use_buffers=False)
        trainer(tmp_path, average, last, max_epochs=epochs).fit(module, **resumed)
        return module.line.weight.item()

    average = fitted(1)
    stored = torch.load(tmp_path / "last.ckpt", weights_only=False)
    assert average != stored["current_model_state"]["line.weight"].item()
    assert fitted(1, ckpt_path=tmp_path / "last.ckpt") == average
    further = fitted(2, ckpt_path=tmp_path / "last.ckpt")
    assert further == fitted(2)


@pytest.mark.parametrize(("decay", "warned"), [(0.99, True), (0.5, False)])
def test_a_training_too_short_for_its_average_is_warned_of(decay, warned, tmp_path, caplog):
    average = AveragedWeights(decay=decay, use_buffers=False)
    trainer(tmp_path, average, max_epochs=1).fit(Line())
    sentence = "after the 8 steps of this one, 93% of the average"  # 0.99 ** 7
    assert any(sentence in message for message in caplog.messages) is warned
