"""Leaves out optimizer steps whose gradients are not finite."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import final

import lightning as L
import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from ..errors import InputError, some
from ..modules.base import SparseModule
from ..modules.step_results import Batch, TrainingStep
from .task_callback import TaskCallback

log = logging.getLogger(__name__)


@final
class SkipNonFinite(TaskCallback):
    """Leaves out optimizer steps whose gradients hold a NaN or an infinity, with a warning.

    Such a step changes neither the weights nor the running statistics of norms.
    After more than `most` of them in a row the training stops: the weights are those after the last
    good step, saved as `<dirpath>/<filename>.ckpt`, unless they are not finite themselves. The
    gradients are those that processes have averaged, so that all decide alike.
    """

    def __init__(self, dirpath: str, filename: str = "finite", most: int = 20) -> None:
        """Allow `most` such steps in a row; fp16 has a few at its start, while it finds its scale.

        Raises:
            InputError: If `most` is no whole number from 0.
        """
        if not isinstance(most, int) or isinstance(most, bool) or most < 0:
            raise InputError(
                f"callbacks.skip_non_finite.most={most!r} must be a whole number from 0, as 20."
            )
        self.path = Path(dirpath) / f"{filename}.ckpt"
        self.most = most
        self.in_a_row = 0
        self._at_fault: list[str] = []
        self._statistics: list[tuple[Tensor, Tensor]] = []  # buffer and its last good value

    def on_train_start(self, trainer: L.Trainer, pl_module: SparseModule) -> None:
        """Copy what a forward pass changes by itself: the running statistics of norms."""
        norms = [module for module in pl_module.modules() if isinstance(module, _BatchNorm)]
        self._statistics = [(buffer, buffer.clone()) for n in norms for buffer in n.buffers()]

    def on_before_optimizer_step(
        self, trainer: L.Trainer, pl_module: L.LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        """Drop all gradients if one is not finite, so that the step changes nothing."""
        named = {n: p.grad for n, p in pl_module.named_parameters() if p.grad is not None}
        if trainer.strategy.reduce_boolean_decision(_finite(named.values())):
            self.in_a_row = 0
            for buffer, good in self._statistics:
                good.copy_(buffer)
            return
        self.in_a_row += 1
        for buffer, good in self._statistics:
            buffer.copy_(good)
        faulty = [name for name, gradient in named.items() if not _finite([gradient])]
        self._at_fault = faulty or ["their common norm"]
        optimizer.zero_grad(set_to_none=True)

    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: SparseModule,
        outputs: TrainingStep,
        batch: Batch,
        batch_idx: int,
    ) -> None:
        """Warn of a step that was left out, with its loss terms; stop after too many in a row.

        Raises:
            InputError: After too many such steps in a row.
        """
        if not self._at_fault:
            return
        terms = ", ".join(f"{name}={float(term):g}" for name, term in outputs["terms"].items())
        fault = (
            f"The gradients of step {trainer.global_step} are not finite in "
            f"{some(self._at_fault)} (loss terms: {terms})"
        )
        self._at_fault = []
        if self.in_a_row <= self.most:
            log.warning(f"{fault}: the step is left out.")
            return
        if all(bool(p.isfinite().all()) for p in pl_module.state_dict().values()):
            trainer.save_checkpoint(self.path)
            state = f"the state before them is {self.path}"
        else:
            state = "the weights are not finite either: go on from an older checkpoint"
        raise InputError(
            f"{fault}, and it is number {self.in_a_row} in a row: the training stops; {state}. "
            "A lower optimizer.lr or trainer.precision=32-true may help."
        )


def _finite(gradients: Iterable[Tensor]) -> bool:
    """Return whether all gradients are finite, by their norm: one synchronization."""
    return bool(torch.nn.utils.get_total_norm(gradients).isfinite())
