"""Defines the loss terms that train selectors, by auxiliary heads on their summaries."""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from typing_extensions import override

from ..errors import InputError
from .backbones.base import SparseBackbone, SparseOutput
from .distances import kl_divergence
from .losses import LossTerm, TeacherOutput


class AuxiliaryHead(nn.Module):
    """Predicts from a selector's summary `(B, C)`: a residual MLP and a linear layer (Cropr)."""

    def __init__(self, dim: int, outputs: int, expansion: int = 4) -> None:
        """Make a head for `dim` channels, with `expansion` times as many inside its MLP."""
        super().__init__()
        self.mlp = nn.Sequential(
            nn.Linear(dim, expansion * dim), nn.GELU(), nn.Linear(expansion * dim, dim)
        )
        self.linear = nn.Linear(dim, outputs)

    @override
    def forward(self, summary: Tensor) -> Tensor:
        predicted: Tensor = self.linear(summary + self.mlp(summary))
        return predicted


class AuxiliaryTerm(LossTerm):
    """Averages the losses of auxiliary heads, one for each location.

    The heads are parameters of the loss and not of the student: they are trained and resumed, and
    no student carries them. Their gradient reaches the selector's scores and nothing else of the
    student. Applies to methods that learn by summaries.
    """

    teaches_selectors = True

    def __init__(self) -> None:
        """Start without heads; `prepare` makes them."""
        super().__init__()
        self.heads = nn.ModuleList()

    @override
    def applies(self, student: SparseBackbone) -> bool:
        return student.method.learns_by_summaries

    @override
    def prepare(self, student: SparseBackbone, num_classes: int) -> None:
        dim = student.geometry(student.backbone).dim
        outputs = self.outputs(student, num_classes)
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
        """Return how many numbers a head predicts for an image."""

    @abstractmethod
    def compare(self, predicted: Tensor, teacher: TeacherOutput, target: Tensor) -> Tensor:
        """Return the loss of one head, which `predicted (B, outputs)`."""


class AuxiliaryClassifiers(AuxiliaryTerm):
    """Uses classifiers of the task's classes as auxiliary heads."""

    @override
    def outputs(self, student: SparseBackbone, num_classes: int) -> int:
        if not num_classes:
            raise InputError(
                f"{type(self).__name__} needs a network that classifies images, and this task's "
                "has no classifier: choose "
                "loss.auxiliary._target_=src.modules.auxiliary.AuxiliaryFeatures."
            )
        return num_classes


class AuxiliaryClassification(AuxiliaryClassifiers):
    """Takes the cross-entropy of each auxiliary classifier with the labels (Cropr's loss)."""

    @override
    def compare(self, predicted: Tensor, teacher: TeacherOutput, target: Tensor) -> Tensor:
        return F.cross_entropy(predicted.float(), target)


class AuxiliaryDistillation(AuxiliaryClassifiers):
    """Compares each auxiliary classifier with the teacher by KL(teacher || classifier)."""

    needs_teacher = True
    reads_classifier = True

    @override
    def compare(self, predicted: Tensor, teacher: TeacherOutput, target: Tensor) -> Tensor:
        return kl_divergence(teacher.logits, predicted).mean()


class AuxiliaryFeatures(AuxiliaryTerm):
    """Predicts the mean of the teacher's normed patch features of an image.

    The loss is the mean squared distance over channels, as in `TokenDistillation`. It serves tasks
    whose network has no classifier.
    """

    needs_teacher = True

    @override
    def outputs(self, student: SparseBackbone, num_classes: int) -> int:
        return student.levels()[-1].channels

    @override
    def compare(self, predicted: Tensor, teacher: TeacherOutput, target: Tensor) -> Tensor:
        return F.mse_loss(predicted.float(), teacher.features.float().mean(dim=1))
