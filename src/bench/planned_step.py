"""Builds the training step whose cost is planned, on any device."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..config import Settings, compose_config
from ..errors import InputError
from ..measure.live import Lowered, fused_attention
from ..modules.backbones.base import SparseBackbone
from ..modules.losses import TeacherOutput
from ..modules.networks.create import own_classes
from ..modules.student import build_student
from ..modules.teacher import Teacher
from ..modules.weighted_loss import WeightedLoss, build_loss

PRECISIONS = {"32-true": None, "bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}
GROUPS = ["backbone", "method", "schedule", "loss", "optimizer", "task", "datamodule", "trainer"]


class PlannedStep:
    """Runs a training step forward and backward, of the dense network or as the settings say."""

    def __init__(self, overrides: Sequence[str], *, dense: bool, device: torch.device) -> None:
        """Build networks with random weights, and a batch.

        Args:
            overrides: As for `train.py`.
            dense: Train the dense network with cross-entropy and no teacher instead.
            device: Device of all tensors; on `meta` nothing is computed.

        Raises:
            InputError: If the settings cannot be planned.
        """
        settings = compose_config([*overrides, "trainer.default_root_dir=null"], GROUPS)
        _check(settings)
        backbone = settings["backbone"] | {"pretrained": False, "weights": None}
        classes = own_classes(backbone["network"])
        batch, size = settings["datamodule"]["batch_size"], backbone["image_size"]
        method = {"_target_": "src.modules.methods.dense.Dense"} if dense else settings["method"]
        self.lowered = PRECISIONS[settings["trainer"]["precision"]]
        self.optimizer: Settings = settings["optimizer"]
        with device:
            self.student: SparseBackbone = build_student(
                backbone, method, settings["schedule"], classes
            ).train()
            self.loss: WeightedLoss | None = None
            self.teacher: Teacher | None = None
            if not dense:
                self.loss = build_loss(settings["loss"])
                self.loss.prepare(self.student, classes)
                if self.loss.needs_teacher:
                    self.teacher = Teacher(self.student)
            self.images = torch.zeros(batch, 3, size, size)
            self.target = torch.zeros(batch, dtype=torch.long)

    def modules(self) -> list[nn.Module]:
        """Return the modules that are trained: the student and the loss."""
        trained: list[nn.Module] = [self.student]
        return trained if self.loss is None else [*trained, self.loss]

    def parameters(self) -> list[nn.Parameter]:
        """Return all parameters of these modules, frozen ones included."""
        return [p for module in self.modules() for p in module.parameters()]

    def teacher_weights(self) -> list[Tensor]:
        """Return the teacher's weights; an empty list without a teacher."""
        return [] if self.teacher is None else list(self.teacher.student.parameters())

    def __call__(self) -> None:
        """Run forward and backward."""
        self._loss().backward()  # type: ignore[no-untyped-call]

    @contextmanager
    def as_on_device(self) -> Iterator[None]:
        """Run with fused attention, and in the precision that the settings say."""
        lowered = nullcontext() if self.lowered is None else Lowered(self.lowered)
        with fused_attention(self.lowered), lowered:
            yield

    def _loss(self) -> Tensor:
        if self.loss is None:
            return F.cross_entropy(self.student.backbone(self.images), self.target)
        output = self.student(self.images)
        teacher = TeacherOutput.of(output) if self.teacher is None else self.teacher(self.images)
        total: Tensor = self.loss(output, teacher, self.target)[0]
        return total

    def known(self) -> list[Tensor]:
        """Return all tensors that persist from step to step."""
        buffers = [b for module in self.modules() for b in module.buffers()]
        return [*self.parameters(), *self.teacher_weights(), *buffers, self.images, self.target]

    def drop_gradients(self) -> None:
        """Free the gradients of the last step."""
        for parameter in self.parameters():
            forget_gradient(parameter)


def forget_gradient(parameter: Tensor) -> None:
    """Free the gradient of one parameter."""
    parameter.grad = None


def _check(settings: dict[str, Settings]) -> None:
    task, precision = settings["task"]["_target_"], settings["trainer"]["precision"]
    if not task.endswith(".SparseClassifier"):
        raise InputError(f"task={task} cannot be planned: choose task=classification.")
    if precision not in PRECISIONS:
        known = ", ".join(PRECISIONS)
        raise InputError(f"trainer.precision={precision} cannot be planned: choose {known}.")
