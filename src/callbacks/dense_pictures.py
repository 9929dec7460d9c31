"""Draws the predictions of a dense task beside the truth and the patches that were kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning as L
import torch
from typing_extensions import override

from ..datamodules.attached import data_of
from ..datamodules.spread import spread_evenly
from ..datamodules.targets import collate
from ..files import atomic_file
from ..loggers.pictures import log_picture
from ..modules.base import SparseModule
from ..pictures.dense import draw_dense
from ..ranges import Number
from .task_callback import TaskCallback


class DensePictures(TaskCallback):
    """Draws validation images, their truth and prediction, after each validation and test.

    Writes `<folder>/epoch_000.png`, or `<folder>/test.png`, and logs `pictures` to TensorBoard and
    W&B.
    """

    ranges = {
        "images": Number(4, least=1, whole=True),
    }

    def __init__(self, folder: str, images: int = 4) -> None:
        """Draw `images` of the validation set, spread over it, into `folder`."""
        self.folder = Path(folder)
        self.images = images

    @override
    def on_validation_end(self, trainer: L.Trainer, pl_module: SparseModule) -> None:
        if not trainer.sanity_checking:
            self._draw(trainer, pl_module, f"epoch_{trainer.current_epoch:03d}.png")

    @override
    def on_test_end(self, trainer: L.Trainer, pl_module: SparseModule) -> None:
        self._draw(trainer, pl_module, "test.png")

    @torch.inference_mode()
    def _draw(self, trainer: L.Trainer, pl_module: SparseModule, name: str) -> None:
        if not trainer.is_global_zero:
            return
        data = data_of(trainer)
        dataset: Any = data.val_dataset()  # of images and their truth, with a length
        chosen = spread_evenly(len(dataset), self.images)
        batch = collate([dataset[number] for number in chosen])
        images = batch[0].to(pl_module.device)
        output = pl_module(images)
        picture = draw_dense(images, batch[1], output, data.normalization, data.class_name)
        with atomic_file(self.folder / name) as partial:
            picture.save(partial)
        log_picture(trainer.loggers, "pictures", picture, trainer.global_step)
