"""Logs what the student costs beside the dense network."""

from __future__ import annotations

import lightning as L
from lightning.pytorch.utilities import rank_zero_info

from ..datamodules.attached import data_of
from ..measure.complexity import count_gmacs, count_params_m
from ..modules.base import SparseModule
from ..modules.sharding import uncounted_student
from .task_callback import TaskCallback


class ComplexityLogger(TaskCallback):
    """Logs `complexity/gmacs`, `complexity/gmacs_share` of dense and `complexity/params_m` once."""

    def on_train_start(self, trainer: L.Trainer, pl_module: SparseModule) -> None:
        """Count student and dense network on the meta device, and log the figures once."""
        if not trainer.is_global_zero:
            return
        size = data_of(trainer).image_size
        student = uncounted_student(pl_module)
        sides = student.input_sides(size)
        sparse = count_gmacs(student, sides)
        dense = count_gmacs(student.backbone, sides)
        params = count_params_m(student)
        rank_zero_info(
            f"{sparse:.2f} GMACs at {size} px, {100 * sparse / dense:.0f} % of dense "
            f"({dense:.2f}); {params:.2f} M parameters"
        )
        for logger in trainer.loggers:
            logger.log_metrics(
                {
                    "complexity/gmacs": sparse,
                    "complexity/gmacs_share": sparse / dense,
                    "complexity/params_m": params,
                },
                step=trainer.global_step,
            )
