"""Loss terms by which selectors learn: auxiliary heads on what each selector saw."""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from typing_extensions import override

from ..errors import InputError
from .backbones.base import SparseBackbone, SparseOutput
from .losses import LossTerm, TeacherOutput, kl_divergence
from .methods.base import Method


class AuxiliaryHead(nn.Module):
    """Predicts from a selector's summary `(B, C)`: a residual MLP and a linear layer (Cropr)."""

    def __init__(self, dim: int, outputs: int, expansion: int = 4) -> None:
        """Make a head for `dim` channels, with `expansion` times as many inside its MLP."""
        super().__init__()
        self.mlp = nn.Sequential(
            nn.Linear(dim, expansion * dim), nn.GELU(), nn.Linear(expansion * dim, dim)
        )
        self.predict = nn.Linear(dim, outputs)

    @override
    def forward(self, summary: Tensor) -> Tensor:
        prediction: Tensor = self.predict(summary + self.mlp(summary))
        return prediction


class AuxiliaryTerm(LossTerm):
    """One auxiliary head for each location; the mean of their losses.

    The heads are parameters of the loss and not of the student: they are trained and resumed, and
    no student carries them. Their gradient reaches the selector's scores and nothing else of the
    student. For methods that learn from summaries alone.
    """

    teaches_selectors = True

    def __init__(self) -> None:
        """Have no heads before `prepare`."""
        super().__init__()
        self.heads = nn.ModuleList()

    @override
    def applies(self, method: Method) -> bool:
        return method.learns_by_summaries

    @override
    def prepare(self, student: SparseBackbone, num_classes: int) -> None:
        dim, outputs = student.geometry(student.backbone).dim, self.outputs(student, num_classes)
        self.heads.extend(AuxiliaryHead(dim, outputs) for _ in student.method.schedule.locations)

    @override
    def forward(self, output: SparseOutput, teacher: TeacherOutput, target: Tensor) -> Tensor:
        losses = [
            self.compare(head(summary), teacher, target)
            for head, summary in zip(self.heads, output.summaries, strict=True)
        ]
        return torch.stack(losses).mean()

    @abstractmethod
    def outputs(self, student: SparseBackbone, num_classes: int) -> int:
        """Return how many numbers a head predicts."""

    @abstractmethod
    def compare(self, prediction: Tensor, teacher: TeacherOutput, target: Tensor) -> Tensor:
        """Return the loss of one head's `prediction (B, outputs)`."""


class AuxiliaryClassifiers(AuxiliaryTerm):
    """Heads that classify the image, in tasks whose network does."""

    @override
    def outputs(self, student: SparseBackbone, num_classes: int) -> int:
        if not num_classes:
            raise InputError(
                f"{type(self).__name__} needs a network that classifies images, and this task's "
                "does not: take src.modules.auxiliary.AuxiliaryFeatures, as loss=segmentation does."
            )
        return num_classes


class AuxiliaryClassification(AuxiliaryClassifiers):
    """Cross-entropy of each auxiliary classifier against the labels (Cropr's loss)."""

    @override
    def compare(self, prediction: Tensor, teacher: TeacherOutput, target: Tensor) -> Tensor:
        return F.cross_entropy(prediction.float(), target)


class AuxiliaryDistillation(AuxiliaryClassifiers):
    """KL(teacher || auxiliary classifier), for trainings that have a teacher."""

    needs_teacher = True

    @override
    def compare(self, prediction: Tensor, teacher: TeacherOutput, target: Tensor) -> Tensor:
        return kl_divergence(teacher.logits, prediction).mean()


class AuxiliaryFeatures(AuxiliaryTerm):
    """Squared distance to the mean of the teacher's patch features, where there are no classes."""

    needs_teacher = True

    @override
    def outputs(self, student: SparseBackbone, num_classes: int) -> int:
        return student.levels()[-1].channels

    @override
    def compare(self, prediction: Tensor, teacher: TeacherOutput, target: Tensor) -> Tensor:
        return F.mse_loss(prediction.float(), teacher.features.float().mean(dim=1))
