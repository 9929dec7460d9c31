"""Defines what tasks with a head on the student's maps share."""

from __future__ import annotations

import logging

from torch import Tensor
from typing_extensions import Unpack

from ..checkpoints.checkpoint import Checkpoint
from ..config import Settings, instantiate
from .base import SparseModule
from .heads.base import DenseOutput, Head, TaskTarget, WholeNetwork
from .task_settings import TaskSettings
from .weights import load_head

log = logging.getLogger(__name__)


class DenseModule(SparseModule):
    """Trains a student of images of any size, without a classifier, and a head on its maps.

    A checkpoint given as `backbone.weights` fills the head too, if it is of the same kind.
    """

    head: Head

    def __init__(self, *, head: Settings, num_classes: int, **parts: Unpack[TaskSettings]) -> None:
        """Build student and head.

        Args:
            head: As in `conf/head`.
            num_classes: Classes that the head tells apart.
            **parts: Arguments of the base class.
        """
        file, checkpoint = parts["backbone"].get("weights"), parts.get("checkpoint")
        if file and checkpoint is None:
            checkpoint = Checkpoint.read(file)
        of_base: TaskSettings = {**parts, "checkpoint": checkpoint}
        super().__init__(num_classes=0, any_size=True, **of_base)
        self.head = instantiate(head, levels=self.student.levels(), num_classes=num_classes)
        self.head.settings, self.head.num_classes = head, num_classes
        if checkpoint:
            load_head(self.head, checkpoint)
        self.prepare_metrics()

    @property
    def whole(self) -> WholeNetwork:
        """Return student and head as one network."""
        return WholeNetwork(self.student, self.head)

    def forward(self, images: Tensor, target: TaskTarget | None = None) -> DenseOutput:
        """Predict from `images (B, 3, H, W)`; a detector in training needs its `target`."""
        output: DenseOutput = self.head(self.student.with_maps(images), images, target)
        return output
