"""Defines loss terms that compare a student's embedding with the dense network's, without labels.

The embedding is what the network returns in place of logits: pooled features without a classifier,
or a projection of them.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F
from typing_extensions import override

from .auxiliary import AuxiliaryTerm
from .backbones.base import SparseBackbone, SparseOutput
from .losses import LossTerm, TeacherOutput


class EmbeddingCosine(LossTerm):
    """Takes 1 minus the cosine between student's and teacher's embedding, the mean over images."""

    needs_teacher = True

    @override
    def forward(self, output: SparseOutput, teacher: TeacherOutput, target: object) -> Tensor:
        return 1 - cosine(output.logits, teacher.logits).mean()


class EmbeddingDistance(LossTerm):
    """Takes the squared distance between both embeddings as a share of the teacher's square.

    Sums run over batch and channels, so that the value does not depend on the embedding's scale.
    """

    needs_teacher = True

    @override
    def forward(self, output: SparseOutput, teacher: TeacherOutput, target: object) -> Tensor:
        asked = teacher.logits.float()
        return (output.logits.float() - asked).square().sum() / asked.square().sum()


class AuxiliaryEmbedding(AuxiliaryTerm):
    """Predicts the teacher's embedding by auxiliary heads; the loss is 1 minus the cosine."""

    needs_teacher = True

    @override
    def outputs(self, student: SparseBackbone, num_classes: int) -> int:
        return student.embedding_dim

    @override
    def compare(self, predicted: Tensor, teacher: TeacherOutput, target: object) -> Tensor:
        return 1 - cosine(predicted, teacher.logits).mean()


def cosine(one: Tensor, other: Tensor) -> Tensor:
    """Return the cosine of each image's two embeddings `(B, D)`, `(B,)` in fp32."""
    return F.cosine_similarity(one.float(), other.float(), dim=-1)
