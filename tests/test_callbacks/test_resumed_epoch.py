"""A training goes on within an epoch with batches of another size: images, rates and ends agree."""

from __future__ import annotations

from pathlib import Path

import lightning as L
import pytest
import torch
from lightning.pytorch.strategies import SingleDeviceStrategy
from lightning.pytorch.utilities.exceptions import SIGTERMException
from torch.utils.data import TensorDataset

from src.callbacks.resumed_epoch import ResumedEpoch
from src.callbacks.step_checkpoint import StepCheckpoint
from src.callbacks.stop_at_signal import StopAtSignal
from src.checkpoints.atomic_io import AtomicCheckpointIO
from src.datamodules.base import ImageDataModule
from src.modules.optim import LearningRates
from tests.helpers import quiet_trainer
from tests.test_callbacks.test_resumed_training import Line

pytestmark = pytest.mark.filterwarnings("ignore")
IMAGES, EPOCHS, STOP = 24, 3, 9  # images of an epoch; behind which step the training stops


class Numbers(ImageDataModule):
    """Images that are their numbers."""

    num_classes = 1

    def __init__(self, batch_size: int) -> None:
        network = {"network": "vit_micro_patch8_80", "image_size": 80}
        super().__init__(**network, batch_size=batch_size, num_workers=0, seed=1)

    def check(self, stage: str = "fit", processes: int = 1) -> None:
        """Find nothing wrong."""

    def train_dataset(self) -> TensorDataset:
        return TensorDataset(torch.arange(float(IMAGES)))

    def val_dataset(self) -> TensorDataset:
        return TensorDataset(torch.ones(1))


class Noting(Line):
    """Notes the images of each epoch, how far its rates' course was, and validations."""

    def __init__(self) -> None:
        super().__init__()
        self.images = [[] for _ in range(EPOCHS)]
        self.rates: dict[float, float] = {}  # epochs of the course by epochs of the training
        self.validated: list[int] = []

    def training_step(self, batch: list[torch.Tensor], batch_idx: int) -> torch.Tensor:
        epoch = self.trainer.current_epoch
        self.images[epoch] += batch[0].int().tolist()
        course = self.lr_schedulers()
        begun = batch_idx - batch_idx % self.trainer.accumulate_grad_batches
        done = epoch + begun / self.trainer.num_training_batches
        self.rates[done] = course.last_epoch / course.steps_per_epoch
        return super().training_step(batch[0][:, None] / IMAGES, batch_idx)

    def validation_step(self, batch: list[torch.Tensor], batch_idx: int) -> None:
        self.validated.append(self.trainer.current_epoch)

    def configure_optimizers(self) -> dict:
        optimizer = torch.optim.SGD(self.parameters(), lr=0.01)
        assert self.trainer.estimated_stepping_batches  # which asks for the loader
        steps = self.trainer.num_training_batches / self.trainer.accumulate_grad_batches
        course = LearningRates(optimizer, [lambda step: 1.0], ["lr"], steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": course, "interval": "step"}}

    train_dataloader = L.LightningModule.train_dataloader  # not of `Line`, but of the data


class SignalBehind(L.Callback):
    """Receives a signal in a step."""

    def __init__(self, signals: StopAtSignal, step: int) -> None:
        self.signals, self.step = signals, step

    def on_train_batch_start(self, trainer, *_) -> None:
        if trainer.global_step == self.step - 1:
            self.signals.received = 15


def fit(folder: Path, batch_size: int, stop: int, saves: int, **options: object) -> Noting:
    module, signals = Noting(), StopAtSignal()
    recent = StepCheckpoint(
        dirpath=folder, filename="recent", steps=saves, enable_version_counter=False
    )
    resumed = options.pop("resumed", None)
    trainer = quiet_trainer(
        max_epochs=EPOCHS,
        callbacks=[SignalBehind(signals, stop), signals, recent, ResumedEpoch()],
        plugins=AtomicCheckpointIO(),
        **options,
    )
    if stop:
        with pytest.raises(SIGTERMException):
            trainer.fit(module, Numbers(batch_size))
    else:
        trainer.fit(module, Numbers(batch_size), ckpt_path=resumed)
    return module


class RestoredLate(SingleDeviceStrategy):
    """Restores a checkpoint when optimizers and loaders exist, as with sharded weights."""

    restore_checkpoint_after_setup = True


@pytest.mark.parametrize("size", [4, 2])
def test_what_is_restored_late_goes_on_behind_the_images_seen(size, tmp_path):
    first = fit(tmp_path, 4, STOP, STOP)
    options = {"resumed": tmp_path / "recent.ckpt", "strategy": RestoredLate("cpu")}
    second = fit(tmp_path / "second", size, 0, 1000, **options)
    assert sorted(first.images[1] + second.images[1]) == list(range(IMAGES))
    assert [len(images) for images in second.images] == [0, IMAGES // 2, IMAGES]


@pytest.mark.parametrize("saves", [STOP, 1000], ids=["saved behind a step", "saved at the signal"])
@pytest.mark.parametrize(
    ("size", "accumulated"), [(4, 1), (2, 1), (2, 2), (1, 1), (8, 1), (5, 1), (24, 1)]
)
def test_a_training_goes_on_with_other_batches(size, accumulated, saves, tmp_path):
    first = fit(tmp_path, 4, STOP, saves)
    file = tmp_path / "recent.ckpt"
    assert torch.load(file, weights_only=True)["global_step"] == STOP
    options = {"accumulate_grad_batches": accumulated, "resumed": file}
    second = fit(tmp_path / "second", size, 0, 1000, **options)
    seen, rest = first.images[1], second.images[1]
    assert len(seen) == IMAGES // 2
    step = size * accumulated
    assert len(set(seen) & set(rest)) < step
    left_over = IMAGES % step  # as an incomplete batch is in every epoch
    assert len(set(seen) | set(rest)) >= IMAGES - left_over
    exact = len(seen) % step == 0
    assert not exact or sorted(seen + rest) == list(range(IMAGES))
    assert [len(images) for images in second.images[2:]] == [IMAGES - left_over]
    assert second.validated == [1, 2]
    most = 0 if exact else step / (IMAGES - left_over)  # the course may be ahead by a step
    assert second.rates
    for done, course in second.rates.items():
        assert -1e-6 < course - done < most + 1e-6, (done, course)
