"""Pictures of what survives each location."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.loggers import WandbLogger
from torch import Tensor
from torch.utils.data import IterableDataset

from ..dashboard.images import masked_images
from ..errors import InputError
from ..modules.backbones.base import SparseBackbone, SparseOutput
from ..pictures import draw_token_maps
from ..pictures.loggers import log_picture
from ..whole import whole_file


class TokenMaps(L.Callback):
    """Draws validation images and what survives each location, after each validation.

    Writes `<folder>/epoch_000.png` and logs `token_maps` to TensorBoard, and to W&B with a mask
    for each location.
    """

    def __init__(self, folder: str, images: int = 8) -> None:
        """Draw `images` of the validation set, spread over it, into `folder`."""
        self.folder = Path(folder)
        self.images = images

    def on_validation_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Draw the current student."""
        if not trainer.is_global_zero or trainer.sanity_checking:
            return
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        images = spread_images(data.val_dataset(), self.images).to(pl_module.device)
        output = inspect(pl_module.student, images)
        if not output.decisions:
            return
        locations = pl_module.student.method.schedule.locations
        normalization = data.input_config["mean"], data.input_config["std"]
        picture = draw_token_maps(images, output, locations, *normalization)
        with whole_file(self.folder / f"epoch_{trainer.current_epoch:03d}.png") as partial:
            picture.save(partial)
        masked = []
        if any(isinstance(logger, WandbLogger) for logger in trainer.loggers):
            masked = masked_images(images, output, locations, *normalization)
        log_picture(trainer.loggers, "token_maps", picture, trainer.global_step, masked)


@torch.inference_mode()
def inspect(student: SparseBackbone, images: Tensor) -> SparseOutput:
    """The student's output at inference, whatever mode it is in."""
    training = student.training
    output: SparseOutput = student.eval()(images)
    student.train(training)
    return output


def spread_images(dataset: Any, count: int) -> Tensor:
    """Return `count` images `(count, 3, S, S)` at equal distances through `dataset`.

    Fewer where a stream leaves unreadable ones out.
    """
    count = min(count, len(dataset))
    found = _found(dataset, [i * len(dataset) // count for i in range(count)])
    return torch.stack(list(found.values()))


def images_at(dataset: Any, numbers: Sequence[int]) -> Tensor:
    """Return images `(B, 3, S, S)` by their numbers, of a stream by passing over those before.

    Raises:
        InputError: If a stream ends before it has come so far.
    """
    found = _found(dataset, numbers)
    missing = [number for number in numbers if number not in found]
    if missing:
        raise InputError(
            f"images={list(numbers)} names image {missing[0]}, but the stream ends before it: "
            "images that are left out as unreadable have no number."
        )
    return torch.stack([found[number] for number in numbers])


def _found(dataset: Any, numbers: Sequence[int]) -> dict[int, Tensor]:
    if not isinstance(dataset, IterableDataset):
        return {number: dataset[number][0] for number in numbers}
    passed = enumerate(islice(dataset, max(numbers) + 1))
    return {number: image for number, (image, _) in passed if number in numbers}
