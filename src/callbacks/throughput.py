"""Logs images a second, in training and at inference."""

from __future__ import annotations

import time

import lightning as L
import torch
from typing_extensions import override

from ..datamodules.attached import data_of
from ..measure.throughput import compare_speed
from ..modules.base import SparseModule
from ..modules.sharding import is_sharded
from ..modules.step_results import Batch, TrainingStep
from .task_callback import TaskCallback


class ThroughputLogger(TaskCallback):
    """Logs `throughput/train_images_per_s` each epoch and, once at the end, inference speed.

    Training counts everything between the first and the last step of an epoch, loading included
    and validation left out; of an epoch that is resumed, the steps since then.
    `throughput/images_per_s` is the student at inference on a batch like the validation's,
    `throughput/speedup` its ratio to the dense network, timed in turns, unless its weights are
    sharded, for one process alone cannot run it then.
    """

    def __init__(self) -> None:
        self._start: float | None = None  # seconds; None before the first step of an epoch
        self._seconds = 0.0
        self._images = 0

    def on_train_start(self, trainer: L.Trainer, pl_module: SparseModule) -> None:
        """Reset the count when training resumes within an epoch, without an epoch start."""
        self._start = None

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: SparseModule) -> None:
        """Reset the count of images and seconds."""
        self._start = None

    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: SparseModule,
        outputs: TrainingStep,
        batch: Batch,
        batch_idx: int,
    ) -> None:
        """Count images and seconds from the end of the first step to the end of the last one."""
        if self._start is None:
            self._start, self._seconds, self._images = _now(pl_module.device), 0.0, 0
            return
        self._images += len(batch[0]) * trainer.world_size
        if batch_idx + 1 >= trainer.num_training_batches:
            self._seconds = _now(pl_module.device) - self._start

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: SparseModule) -> None:
        """Log the images a second of this epoch, if it had two steps."""
        if self._seconds:
            rate = self._images / self._seconds
            pl_module.log("throughput/train_images_per_s", rate, rank_zero_only=True)

    @override
    def on_fit_end(self, trainer: L.Trainer, pl_module: SparseModule) -> None:
        if not trainer.is_global_zero or trainer.interrupted or is_sharded(pl_module.student):
            return
        data = data_of(trainer)
        student = pl_module.student
        shape = (data.batch_size, 3, *student.input_sides(data.image_size))
        images = torch.randn(shape, device=pl_module.device)
        networks = {"sparse": student, "dense": student.backbone}
        speed = compare_speed(networks, [images], repeats=3, seconds=0.2)
        for logger in trainer.loggers:
            logger.log_metrics(
                {
                    "throughput/images_per_s": speed["sparse"].images_per_s,
                    "throughput/speedup": speed["sparse"].over(speed["dense"])[0],
                },
                step=trainer.global_step,
            )


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
