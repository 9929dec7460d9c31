"""Loss terms by which selectors learn: auxiliary classifiers on what each selector saw."""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from typing_extensions import override

from ..errors import InputError
from .backbones.base import SparseBackbone, SparseOutput
from .losses import LossTerm, TeacherOutput, kl_divergence


class AuxiliaryHead(nn.Module):
    """Classifies a selector's summary `(B, C)`: a residual MLP and a linear layer (Cropr)."""

    def __init__(self, dim: int, num_classes: int, expansion: int = 4) -> None:
        """Make a head for `dim` channels, with `expansion` times as many inside its MLP."""
        super().__init__()
        self.mlp = nn.Sequential(
            nn.Linear(dim, expansion * dim), nn.GELU(), nn.Linear(expansion * dim, dim)
        )
        self.classify = nn.Linear(dim, num_classes)

    @override
    def forward(self, summary: Tensor) -> Tensor:
        logits: Tensor = self.classify(summary + self.mlp(summary))
        return logits


class AuxiliaryTerm(LossTerm):
    """One auxiliary classifier for each location; the mean of their losses.

    The classifiers are parameters of the loss and not of the student: they are trained and resumed,
    and no student carries them. Their gradient reaches the selector's scores and nothing else of
    the student. 0 for methods that learn without such a term.
    """

    teaches_selectors = True

    def __init__(self) -> None:
        """Have no classifiers before `prepare`."""
        super().__init__()
        self.heads = nn.ModuleList()

    @override
    def prepare(self, student: SparseBackbone, num_classes: int) -> None:
        method = student.method
        if not method.learns_by_summaries:
            return
        if not num_classes:
            raise InputError(
                "An auxiliary loss needs a network that classifies images, and this task's has no "
                "classifier: choose a method that learns without it, as method=dynamicvit."
            )
        dim = student.geometry(student.backbone).dim
        self.heads.extend(AuxiliaryHead(dim, num_classes) for _ in method.schedule.locations)

    @override
    def forward(self, output: SparseOutput, teacher: TeacherOutput, target: Tensor) -> Tensor:
        losses = [
            self.compare(head(summary), teacher, target)
            for head, summary in zip(self.heads, output.summaries, strict=True)
        ]
        return torch.stack(losses).mean() if losses else output.logits.new_zeros(())

    @abstractmethod
    def compare(self, logits: Tensor, teacher: TeacherOutput, target: Tensor) -> Tensor:
        """Return the loss of one classifier's `logits (B, classes)`."""


class AuxiliaryClassification(AuxiliaryTerm):
    """Cross-entropy of each auxiliary classifier against the labels (Cropr's loss)."""

    @override
    def compare(self, logits: Tensor, teacher: TeacherOutput, target: Tensor) -> Tensor:
        return F.cross_entropy(logits.float(), target)


class AuxiliaryDistillation(AuxiliaryTerm):
    """KL(teacher || auxiliary classifier), for trainings that have a teacher."""

    needs_teacher = True

    @override
    def compare(self, logits: Tensor, teacher: TeacherOutput, target: Tensor) -> Tensor:
        return kl_divergence(teacher.logits, logits).mean()
