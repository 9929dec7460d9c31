"""Freezes the pretrained parameters until the new ones have settled."""

from __future__ import annotations

import logging

import lightning as L
from lightning.pytorch.strategies import DDPStrategy
from torch import nn

from ..lightning_internals import wrap_again
from ..modules.backbones.base import SparseBackbone
from ..modules.base import SparseModule
from ..ranges import Number
from .task_callback import TaskCallback

log = logging.getLogger(__name__)


class FreezeBackbone(TaskCallback):
    """Freezes `student.backbone`, its norm statistics included, for the first epochs.

    Source: paper A, section 4 (five epochs). The released code only sets the rate to 0.
    """

    ranges = {
        "epochs": Number(5, least=0, whole=True),
    }

    def __init__(self, epochs: int) -> None:
        """Freeze for the first `epochs` epochs; 0 never freezes."""
        self.epochs = epochs

    @staticmethod
    def no_effect(student: SparseBackbone) -> str:
        """Return why freezing changes nothing for this student; empty if it does."""
        learned = any(True for _ in student.method.parameters())
        return "" if learned else "this method has no new parameters that must settle"

    def setup(self, trainer: L.Trainer, pl_module: SparseModule, stage: str) -> None:
        """Freeze before a strategy as DDP registers the parameters that require gradients."""
        if stage != "fit" or self.epochs == 0:
            return
        if self.no_effect(pl_module.student):
            self.epochs = 0
            return
        if self.epochs >= (trainer.max_epochs or 0) > 0:
            log.warning(
                f"callbacks.freeze_backbone.epochs={self.epochs} covers all of "
                f"trainer.max_epochs={trainer.max_epochs}: the backbone never trains."
            )
        pl_module.student.backbone.requires_grad_(False)

    def on_train_start(self, trainer: L.Trainer, pl_module: SparseModule) -> None:
        """Freeze or release when training resumes within an epoch, without an epoch start."""
        self._freeze_or_release(trainer, pl_module)

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: SparseModule) -> None:
        """Keep the frozen network in evaluation mode; release it after its last frozen epoch."""
        self._freeze_or_release(trainer, pl_module)

    def _freeze_or_release(self, trainer: L.Trainer, pl_module: SparseModule) -> None:
        if self.epochs == 0:
            return
        backbone: nn.Module = pl_module.student.backbone
        frozen = trainer.current_epoch < self.epochs
        backbone.train(not frozen)
        if not frozen and not next(backbone.parameters()).requires_grad:
            backbone.requires_grad_(True)
            if isinstance(trainer.strategy, DDPStrategy):
                wrap_again(trainer.strategy)
