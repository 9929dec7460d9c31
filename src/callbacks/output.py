"""Defines files that an evaluation writes, and what they need of task and machine."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import lightning as L

from ..datamodules.base import ImageDataModule
from ..errors import InputError
from ..modules.base import SparseModule
from .task_callback import TaskCallback


class EvaluationOutput(TaskCallback):
    """A file that an evaluation writes if `conf/eval.yaml` has a path for it.

    `setting` is its word on the command line.
    """

    setting: ClassVar[str]

    def __init__(self, path: str) -> None:
        """Write to `path`."""
        self.path = Path(path)

    def prepare(self, trainer: L.Trainer, module: SparseModule, data: ImageDataModule) -> None:
        """Check and take what the file needs, before anything is tested.

        Raises:
            InputError: If it cannot be written of this task, data or number of processes.
        """


class LabelOutput(EvaluationOutput):
    """An output of images with one label each, written by the one process that tests."""

    def prepare(self, trainer: L.Trainer, module: SparseModule, data: ImageDataModule) -> None:
        """Refuse other tasks and several processes."""
        if module.target != "label":
            needed = module.target_words.get(module.target, module.target)
            raise InputError(
                f"{self.setting}={self.path} is for images with one label each, but this task "
                f"learns from {needed}: leave it out."
            )
        if trainer.world_size > 1:
            raise InputError(
                f"{self.setting}={self.path} is written by one process, and this evaluation has "
                f"{trainer.world_size}: add trainer.devices=1."
            )
