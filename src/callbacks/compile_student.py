"""Compiles the student's training step."""

from __future__ import annotations

from collections.abc import Callable

import lightning as L
import torch
from typing_extensions import override

from ..errors import InputError
from ..modules.base import SparseModule
from ..modules.step_results import Batch
from .task_callback import TaskCallback


class CompileStudent(TaskCallback):
    """Runs the student through `torch.compile` in training, and as it is in validation.

    A GPU that is faster than the CPU which launches its kernels waits for them; a compiled student
    launches far fewer. Compiling takes minutes at the start. The teacher has
    `task.teacher.compiled`.
    """

    def __init__(
        self, mode: str | None = None, backend: str | Callable[..., object] = "inductor"
    ) -> None:
        """Take the mode and the backend of `torch.compile`.

        Args:
            mode: `reduce-overhead` also records CUDA graphs, so that a step is launched by a few
                calls; its memory is then held from step to step. None for the default.
            backend: A name or a function.
        """
        self.mode = mode
        self.backend = backend

    @override
    def on_train_start(self, trainer: L.Trainer, pl_module: SparseModule) -> None:
        if pl_module.head is not None:
            raise InputError(
                "callbacks=[default,compiled] compiles students without a head on their maps: "
                "leave `compiled` out for this task."
            )
        if self.mode is not None and (batches := trainer.accumulate_grad_batches) > 1:
            raise InputError(
                f"callbacks.compile_student.mode={self.mode} may record CUDA graphs, whose "
                "gradients the next batch overwrites, and trainer.accumulate_grad_batches="
                f"{batches} adds them up over batches: choose mode=null, or 1 batch."
            )
        self._compiled = torch.compile(
            pl_module.student.forward, backend=self.backend, mode=self.mode
        )

    @override
    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: SparseModule, batch: Batch, batch_idx: int
    ) -> None:
        torch.compiler.cudagraph_mark_step_begin()
        vars(pl_module.student)["forward"] = self._compiled

    @override
    def on_validation_start(self, trainer: L.Trainer, pl_module: SparseModule) -> None:
        self._as_it_is(pl_module)

    @override
    def on_train_end(self, trainer: L.Trainer, pl_module: SparseModule) -> None:
        self._as_it_is(pl_module)

    def _as_it_is(self, module: SparseModule) -> None:
        vars(module.student).pop("forward", None)
