"""Defines the files that an evaluation writes, and checks before it that it can write them."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import lightning as L

from ..datamodules.base import ImageDataModule
from ..errors import InputError
from ..modules.base import SparseModule
from .task_callback import TaskCallback


class EvaluationOutput(TaskCallback):
    """Writes one file of an evaluation, if `conf/eval.yaml` has a path for it.

    `setting` is the key of that path on the command line.
    """

    setting: ClassVar[str]

    def __init__(self, path: str) -> None:
        """Write to the file `path`."""
        self.path = Path(path)

    def prepare(self, trainer: L.Trainer, module: SparseModule, data: ImageDataModule) -> None:
        """Check that the file can be written, and take what it needs, before the test starts.

        Raises:
            InputError: If this task, data or number of processes does not allow it.
        """


class SingleProcessOutput(EvaluationOutput):
    """Writes a file about all images in their order, from an evaluation in one process."""

    def prepare(self, trainer: L.Trainer, module: SparseModule, data: ImageDataModule) -> None:
        """Refuse more than one process."""
        if trainer.world_size > 1:
            raise InputError(
                f"{self.setting}={self.path} is written by one process, and this evaluation has "
                f"{trainer.world_size}: add trainer.devices=1."
            )


class LabelOutput(SingleProcessOutput):
    """Writes a file about images with one label each, from an evaluation in one process."""

    def prepare(self, trainer: L.Trainer, module: SparseModule, data: ImageDataModule) -> None:
        """Refuse tasks without labels, and more than one process."""
        if module.target != "label":
            needed = module.target_words.get(module.target, module.target)
            raise InputError(
                f"{self.setting}={self.path} is for images with one label each, but this task "
                f"learns from {needed}: leave it out."
            )
        super().prepare(trainer, module, data)
