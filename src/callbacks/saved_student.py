"""Saves the student when training ends, as a file that describes itself."""

from __future__ import annotations

import logging
from pathlib import Path

import lightning as L
from typing_extensions import override

from ..datamodules.base import ImageDataModule
from ..errors import InputError
from ..modules.base import SparseModule
from ..modules.dense import DenseModule
from ..modules.sharding import gathered_student
from .task_callback import TaskCallback

log = logging.getLogger(__name__)


class SavedStudent(TaskCallback):
    """Writes the student at the end of a fit, with its head, for `tokenthrift.load`.

    The file names classes, preprocessing, GMACs and the last validation's metrics. A student that
    cannot be saved, as one of a method of your own, is warned of.
    """

    def __init__(self, path: str) -> None:
        """Write to `path`."""
        self.path = Path(path)

    @override
    def on_fit_end(self, trainer: L.Trainer, pl_module: SparseModule) -> None:
        if trainer.interrupted:
            return
        student = gathered_student(pl_module)
        if not trainer.is_global_zero:
            return
        data = trainer.datamodule  # type: ignore[attr-defined]
        if isinstance(data, ImageDataModule):
            student.preprocessing = data.preprocessing
            student.class_names = data.class_names if pl_module.outputs_are_classes else None
        logged, names = trainer.callback_metrics, pl_module.validation_metrics()
        student.metrics = {
            name.removeprefix("val/"): float(logged[name]) for name in names if name in logged
        } | {"gmacs": student.gmacs()}
        try:
            saved = pl_module.whole if isinstance(pl_module, DenseModule) else student
            saved.save(self.path)
        except InputError as error:
            log.warning(f"{self.path} is not written. {error}")
