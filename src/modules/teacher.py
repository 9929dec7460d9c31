"""The frozen dense network that a student learns from."""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from .backbones import SparseBackbone
from .build import dense_student
from .losses import TeacherOutput


class Teacher:
    """The student's network as it stands now, dense, frozen and in evaluation mode.

    Deliberately no `nn.Module`: whoever holds it neither trains, saves, averages nor synchronizes
    it.
    """

    def __init__(self, student: SparseBackbone) -> None:
        """Copy the student's network."""
        dense = dense_student(copy.deepcopy(student.backbone))
        self.student = dense.as_teacher().requires_grad_(False)

    def to(self, device: torch.device) -> Teacher:
        """Move the network."""
        self.student.to(device)
        return self

    @torch.no_grad()
    def __call__(self, images: Tensor) -> TeacherOutput:
        """Logits and features of `images (B, 3, S, S)`."""
        output = self.student(images)
        return TeacherOutput(output.logits, output.features, output.token_logits)
