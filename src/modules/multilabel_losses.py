"""Defines loss terms for images with any number of classes: each class is decided separately.

Targets are `(B, classes)` of 1 (the image has the class), 0 (it has not), and -1 or NaN (nobody
knows), which counts for nothing.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F
from typing_extensions import override

from .auxiliary import AuxiliaryClassifiers
from .backbones.base import SparseOutput
from .distances import kept_mean, kl_divergence
from .losses import LossTerm, TeacherOutput


class BinaryClassification(LossTerm):
    """Takes the mean binary cross-entropy over the known labels."""

    @override
    def forward(self, output: SparseOutput, teacher: TeacherOutput, target: Tensor) -> Tensor:
        return known_cross_entropy(output.logits, target)


class BinaryDistillation(LossTerm):
    """Takes the mean KL(teacher || student) over the Bernoulli distributions of all classes.

    It also trains on classes whose label is unknown.
    """

    needs_teacher = True

    @override
    def forward(self, output: SparseOutput, teacher: TeacherOutput, target: Tensor) -> Tensor:
        return bernoulli_divergence(teacher.logits, output.logits).mean()


class AuxiliaryBinaryClassification(AuxiliaryClassifiers):
    """Takes the binary cross-entropy of each auxiliary classifier with the known labels."""

    @override
    def compare(self, predicted: Tensor, teacher: TeacherOutput, target: Tensor) -> Tensor:
        return known_cross_entropy(predicted, target)


class AuxiliaryBinaryDistillation(AuxiliaryClassifiers):
    """Takes KL(teacher || auxiliary classifier) of each class; it needs a teacher."""

    needs_teacher = True

    @override
    def compare(self, predicted: Tensor, teacher: TeacherOutput, target: Tensor) -> Tensor:
        return bernoulli_divergence(teacher.logits, predicted).mean()


def is_known(target: Tensor) -> Tensor:
    """Return where `target` is a label, and neither -1 nor NaN."""
    return target >= 0


def known_cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Return the mean binary cross-entropy over known labels, 0 if there is none.

    The mean is over the images of all processes, as that of `kept_mean`.
    """
    known = is_known(target)
    labels = torch.where(known, target, 0).float()
    values = F.binary_cross_entropy_with_logits(logits.float(), labels, reduction="none")
    return kept_mean(values, known.float())


def bernoulli_divergence(teacher: Tensor, student: Tensor) -> Tensor:
    """Return KL(teacher || student) `(B, classes)` of Bernoulli distributions, by their logits."""
    return kl_divergence(_two_classes(teacher), _two_classes(student))


def _two_classes(logits: Tensor) -> Tensor:
    """Return logits of two classes, `(..., 2)`, whose softmax is the Bernoulli distribution."""
    return torch.stack([logits, torch.zeros_like(logits)], dim=-1)
