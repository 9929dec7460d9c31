"""Writes the weights of the dense network when training ends."""

from __future__ import annotations

from pathlib import Path

import lightning as L
from typing_extensions import override

from ..modules.base import SparseModule
from ..modules.sharding import gathered_student
from ..modules.weights import save_dense
from .task_callback import TaskCallback


class ExportWeights(TaskCallback):
    """Writes the backbone to a half-precision `.safetensors` file when training ends."""

    def __init__(self, path: str) -> None:
        """Write to the file `path`."""
        self.path = Path(path)

    @override
    def on_fit_end(self, trainer: L.Trainer, pl_module: SparseModule) -> None:
        if trainer.interrupted:
            return
        student = gathered_student(pl_module)
        if trainer.is_global_zero:
            save_dense(student, self.path)
