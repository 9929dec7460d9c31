"""A method, a task, a data set, a loss and a callback from outside of the package."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import Dataset
from torchmetrics import MeanMetric
from typing_extensions import override

from src.datamodules.base import ImageDataModule
from src.modules.backbones.base import SparseOutput
from src.modules.base import Metric, SparseModule
from src.modules.layers.tokens import Tokens
from src.modules.losses import LossTerm, TeacherOutput
from src.modules.methods.base import TokenReduction


class FirstOnes(TokenReduction):
    """Keeps the patches that come first."""

    @override
    def decide(self, tokens: Tokens, number: int, count: int) -> Tokens:
        first = torch.arange(count, device=tokens.x.device)
        return tokens.select(first.expand(tokens.x.shape[0], -1))


class Gray(Dataset[tuple[Tensor, Tensor]]):
    """Images of one gray each, with how bright they are."""

    def __init__(self, length: int, size: int) -> None:
        self.length, self.size = length, size

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        brightness = torch.tensor(index / self.length)
        return brightness.expand(3, self.size, self.size).clone(), brightness


class GrayImages(ImageDataModule):
    """Images that tasks learn brightness from."""

    targets = ("brightness",)
    target_words = {"brightness": "how bright each image is"}
    num_classes = 1

    @override
    def check(self, stage: str = "fit", processes: int = 1) -> None:
        self.check_batches(32, processes)

    @override
    def train_dataset(self) -> Dataset[Any]:
        return Gray(32, self.image_size)

    @override
    def val_dataset(self) -> Dataset[Any]:
        return Gray(16, self.image_size)


class Brightness(SparseModule):
    """Learns a number for each image."""

    target = "brightness"
    target_words = {"brightness": "how bright each image is"}
    natural_loss = "brightness"
    judged_by = Metric("close", "within 0.2 (%)")

    def __init__(self, *, num_classes: int, **parts: Any) -> None:
        super().__init__(num_classes=num_classes, **parts)
        self.save_hyperparameters(ignore=["checkpoint"])
        self.prepare_metrics()

    @override
    def images_and_target(self, batch: Any) -> tuple[Tensor, Tensor]:
        images, target = batch
        return images, target

    @override
    def metric_names(self) -> list[str]:
        return ["close"]

    @override
    def make_metrics(self) -> nn.Module:
        return MeanMetric()

    @override
    def update_metrics(self, metrics: Any, output: SparseOutput, target: Tensor) -> None:
        metrics.update(((output.logits[:, 0] - target).abs() < 0.2).float())

    @override
    def percentages(self, metrics: Any) -> dict[str, Tensor]:
        return {"close": 100 * metrics.compute()}


class SquaredDistance(LossTerm):
    """The mean squared distance from the brightness."""

    @override
    def forward(self, output: SparseOutput, teacher: TeacherOutput, target: Tensor) -> Tensor:
        return F.mse_loss(output.logits[:, 0], target)


class BatchCounter(L.Callback):
    """Writes how many batches were tested."""

    def __init__(self, path: str) -> None:
        self.path = Path(path)
        self.batches = 0

    @override
    def on_test_batch_end(self, *_: Any, **__: Any) -> None:
        self.batches += 1

    @override
    def on_test_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        self.path.write_text(str(self.batches))
