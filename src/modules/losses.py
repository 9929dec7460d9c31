"""Defines loss terms over the student's output, the teacher's and the labels."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from typing_extensions import override

from ..datamodules.targets import IGNORED
from ..ranges import Number, Replaced
from .backbones.base import SparseBackbone, SparseOutput
from .distances import by_token, kept_mean, kl_divergence, mean_of_processes
from .heads.base import DenseOutput, of_student


@dataclass(frozen=True)
class TeacherOutput:
    """Holds the dense network's outputs for the same images: all patches, as `SparseOutput`."""

    logits: Tensor
    features: Tensor
    token_logits: Tensor | None = None

    @classmethod
    def of(cls, output: SparseOutput | DenseOutput) -> TeacherOutput:
        """Take from a dense network's output what students learn from."""
        own = of_student(output)
        logits = own.logits if output.logits is None else output.logits
        return cls(logits.detach(), own.features.detach(), own.token_logits)


class LossTerm(nn.Module, ABC):
    """Computes a scalar from the outputs of student and teacher and from the labels.

    Attributes:
        needs_teacher: Whether it reads the teacher's output.
        needs_token_logits: Whether it reads class logits of each token.
        teaches_selectors: Whether it trains the scores of methods that learn by summaries.
        holds_ratio: Whether it holds decisions drawn in training to the schedule's ratios.
        reads_classifier: Whether it reads the teacher's class logits, which mean nothing while the
            classifier is new.
        reads_head: Whether it reads a head's `DenseOutput` instead of the student's output.
    """

    needs_teacher: ClassVar[bool] = False
    needs_token_logits: ClassVar[bool] = False
    teaches_selectors: ClassVar[bool] = False
    holds_ratio: ClassVar[bool] = False
    reads_classifier: ClassVar[bool] = False
    reads_head: ClassVar[bool] = False

    def applies(self, student: SparseBackbone) -> bool:
        """Return whether `student` can learn from the term; one that cannot is left out."""
        return not (self.reads_classifier and student.head_is_new)

    def prepare(self, student: SparseBackbone, num_classes: int) -> None:
        """Make the term's own parameters for a student of `num_classes`; most terms have none."""

    @abstractmethod
    def forward(self, output: Any, teacher: TeacherOutput, target: Tensor) -> Tensor:
        """Return the term's value, without its weight.

        Args:
            output: A `SparseOutput`; a `DenseOutput` where the term reads a head.
            teacher: The teacher's output for the same images.
            target: What the task learns from, as its labels.
        """


class Classification(LossTerm):
    """Takes the cross-entropy with labels `(B,)` or, after mixup, soft labels `(B, classes)`."""

    ranges = {
        "smoothing": Number(0.1, least=0, below=1),
    }
    replaced = {
        "smoothing": Replaced("datamodule.mixup", "mixup makes the labels soft by itself"),
    }

    def __init__(self, smoothing: float = 0.0) -> None:
        """Smooth hard labels by `smoothing`; soft ones stay as they are."""
        super().__init__()
        self.smoothing = smoothing

    @override
    def forward(self, output: SparseOutput, teacher: TeacherOutput, target: Tensor) -> Tensor:
        smoothing = 0.0 if target.is_floating_point() else self.smoothing
        return F.cross_entropy(output.logits.float(), target, label_smoothing=smoothing)


class KeepRatio(LossTerm):
    """Holds the share of kept patches to the schedule's, by squared distance (paper A, Eq. 15).

    The term is the mean over locations of the squared distance, either of each image's share or of
    the batch's mean share, which lets one image keep more than another. It does not apply to
    methods that learn by summaries: in training too, they keep as many as the schedule says.
    """

    holds_ratio = True

    def __init__(self, batch_mean: bool = False) -> None:
        """Hold each image's share to the schedule, or with `batch_mean` the batch's mean share."""
        super().__init__()
        self.batch_mean = batch_mean

    @staticmethod
    def no_effect(student: SparseBackbone) -> str:
        """Return why the term changes nothing for this student; empty if it does."""
        learned = any(True for _ in student.method.parameters())
        return "" if learned else "this method has no learned decisions"

    @override
    def applies(self, student: SparseBackbone) -> bool:
        return not student.method.learns_by_summaries

    @override
    def forward(self, output: SparseOutput, teacher: TeacherOutput, target: Tensor) -> Tensor:
        if not output.steps:
            return output.logits.new_zeros(())
        kept = torch.stack([step.keep.mean(dim=1) for step in output.steps])  # (S, B)
        if self.batch_mean:
            kept = kept.mean(dim=1, keepdim=True)
            kept = kept + (mean_of_processes(kept.detach()) - kept.detach())
        asked = kept.new_tensor([step.ratio for step in output.steps])[:, None]
        return (kept - asked).square().mean()


class LogitDistillation(LossTerm):
    """Compares class distributions with the teacher's by KL(teacher || student).

    Paper A's Eq. 14 has the arguments exchanged; this is what the released code computes.
    It does not apply to a student whose classifier is new, since the teacher's is then new as well.
    """

    needs_teacher = True
    reads_classifier = True

    @override
    def forward(self, output: SparseOutput, teacher: TeacherOutput, target: Tensor) -> Tensor:
        return kl_divergence(teacher.logits, output.logits).mean()


class TokenDistillation(LossTerm):
    """Compares the kept patches' features with the teacher's by squared distance.

    The term is the mean over kept patches and channels, as in the released code; paper A's Eq. 13
    sums over channels. A token that stands for several patches is compared with the mean of the
    teacher's features of these, and counts once.
    """

    needs_teacher = True

    @override
    def forward(self, output: SparseOutput, teacher: TeacherOutput, target: Tensor) -> Tensor:
        features, counts = by_token(output, teacher.features.float())
        distance = (output.features.float() - features).square().mean(-1)
        return kept_mean(distance, counts)


class TokenLogitDistillation(LossTerm):
    """Compares the kept patches' class distributions with the teacher's by KL (LV-ViT).

    The term is the mean of KL(teacher || student) over kept patches, as in the released code. A
    token that stands for several patches is compared with the mean of their distributions, and
    counts once.
    """

    needs_teacher = True
    needs_token_logits = True
    reads_classifier = True

    @override
    def forward(self, output: SparseOutput, teacher: TeacherOutput, target: Tensor) -> Tensor:
        assert output.token_logits is not None
        assert teacher.token_logits is not None
        classes, counts = by_token(output, teacher.token_logits.float().softmax(-1))
        divergence = kl_divergence(classes.clamp(min=1e-30).log(), output.token_logits)
        return kept_mean(divergence, counts)


class PixelClassification(LossTerm):
    """Takes the mean cross-entropy of pixels with masks `(B, H, W)`, without `IGNORED` ones."""

    reads_head = True

    @override
    def forward(self, output: DenseOutput, teacher: TeacherOutput, target: Tensor) -> Tensor:
        assert output.logits is not None
        loss = F.cross_entropy(output.logits.float(), target, ignore_index=IGNORED, reduction="sum")
        return loss / (target != IGNORED).sum().clamp(min=1)


class PixelDistillation(LossTerm):
    """Compares pixels' class distributions with a trained teacher's by KL(teacher || student)."""

    needs_teacher = True
    reads_head = True

    @override
    def forward(self, output: DenseOutput, teacher: TeacherOutput, target: Tensor) -> Tensor:
        assert output.logits is not None
        return kl_divergence(teacher.logits.movedim(1, -1), output.logits.movedim(1, -1)).mean()


class Detection(LossTerm):
    """Sums the detector's own losses."""

    reads_head = True

    @override
    def forward(self, output: DenseOutput, teacher: TeacherOutput, target: Tensor) -> Tensor:
        return torch.stack(list(output.losses.values())).sum()
