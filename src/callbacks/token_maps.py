"""Draws which patches are kept at each location, after each validation."""

from __future__ import annotations

from pathlib import Path

import lightning as L
from lightning.pytorch.loggers import WandbLogger
from typing_extensions import override

from ..datamodules.attached import data_of
from ..files import atomic_file
from ..loggers.pictures import log_picture
from ..modules.base import SparseModule
from ..modules.sharding import is_sharded
from ..pictures import draw_token_maps
from ..pictures.masks import masked_images
from ..pictures.samples import inspect, spread_images
from ..ranges import Number
from .task_callback import TaskCallback


class TokenMaps(TaskCallback):
    """Draws validation images and the patches kept at each location, after each validation.

    A student whose weights are sharded is not drawn, for one process alone cannot run it.

    Writes `<folder>/epoch_000.png` and logs `token_maps` to TensorBoard, and to W&B with a mask
    for each location.
    """

    ranges = {
        "images": Number(8, least=1, whole=True),
    }

    def __init__(self, folder: str, images: int = 8) -> None:
        """Draw `images` of the validation set, spread over it, into `folder`."""
        self.folder = Path(folder)
        self.images = images

    @override
    def on_validation_end(self, trainer: L.Trainer, pl_module: SparseModule) -> None:
        if not trainer.is_global_zero or trainer.sanity_checking or is_sharded(pl_module.student):
            return
        data = data_of(trainer)
        images = spread_images(data.val_dataset(), self.images).to(pl_module.device)
        output = inspect(pl_module.student, images)
        if not output.steps:
            return
        picture = draw_token_maps(images, output, data.normalization)
        with atomic_file(self.folder / f"epoch_{trainer.current_epoch:03d}.png") as partial:
            picture.save(partial)
        masked = []
        if any(isinstance(logger, WandbLogger) for logger in trainer.loggers):
            masked = masked_images(images, output, data.normalization)
        log_picture(trainer.loggers, "token_maps", picture, trainer.global_step, masked)
