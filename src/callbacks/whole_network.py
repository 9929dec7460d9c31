"""Logs what a student and its head cost, beside the dense network with the same head."""

from __future__ import annotations

import lightning as L
from typing_extensions import override

from ..datamodules.attached import data_of
from ..modules.base import SparseModule
from ..modules.dense import DenseModule
from ..modules.heads.base import whole_cost, whole_speed
from .task_callback import TaskCallback


class WholeNetworkLogger(TaskCallback):
    """Logs GMACs, parameters and speed of student and head together.

    At the start `complexity/whole_gmacs`, `complexity/whole_gmacs_share` of dense and
    `complexity/whole_params_m`; at the end `throughput/whole_images_per_s` and
    `throughput/whole_speedup`, on a batch like the validation's.
    """

    @override
    def on_train_start(self, trainer: L.Trainer, pl_module: SparseModule) -> None:
        if trainer.is_global_zero:
            assert isinstance(pl_module, DenseModule)
            size = data_of(trainer).image_size
            _log(trainer, "complexity", whole_cost(pl_module.whole, size))

    @override
    def on_fit_end(self, trainer: L.Trainer, pl_module: SparseModule) -> None:
        if trainer.is_global_zero and not trainer.interrupted:
            assert isinstance(pl_module, DenseModule)
            data = data_of(trainer)
            speed = whole_speed(
                pl_module.whole, data.image_size, data.batch_size, repeats=3, seconds=0.2
            )
            _log(trainer, "throughput", speed)


def _log(trainer: L.Trainer, group: str, values: dict[str, float]) -> None:
    named = {f"{group}/{name}": value for name, value in values.items()}
    for logger in trainer.loggers:
        logger.log_metrics(named, step=trainer.global_step)
