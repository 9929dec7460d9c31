"""Finds the data module of a trainer."""

from __future__ import annotations

import lightning as L

from .base import ImageDataModule


def data_of(trainer: L.Trainer) -> ImageDataModule:
    """Return the data module that `trainer` runs on, an `ImageDataModule` in this package.

    Lightning sets the attribute when a run starts, and its `Trainer` declares none.
    """
    data: ImageDataModule = trainer.datamodule  # type: ignore[attr-defined]
    return data
