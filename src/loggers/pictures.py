"""Shows pictures in TensorBoard and W&B."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from lightning.pytorch.loggers import Logger, TensorBoardLogger, WandbLogger
from PIL.Image import Image

if TYPE_CHECKING:
    import wandb


def log_picture(
    loggers: Sequence[Logger],
    name: str,
    picture: Image,
    step: int,
    parts: Sequence[wandb.Image] = (),
) -> None:
    """Show `picture` in TensorBoard and in W&B; W&B gets `parts` in its place, if any."""
    for logger in loggers:
        if isinstance(logger, WandbLogger):
            logger.log_image(name, [*parts] or [picture], step=step)
        elif isinstance(logger, TensorBoardLogger):
            pixels = torch.frombuffer(bytearray(picture.tobytes()), dtype=torch.uint8)
            pixels = pixels.view(picture.height, picture.width, len(picture.getbands()))
            logger.experiment.add_image(name, pixels, step, dataformats="HWC")
