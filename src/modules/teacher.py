"""Runs the frozen dense network that a student learns from."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor, nn

from ..errors import InputError
from .backbones.base import SparseBackbone
from .compiled import compile_for_inference
from .heads.base import Output, WholeNetwork
from .losses import TeacherOutput

PRECISIONS = {"bf16": torch.bfloat16, "fp16": torch.float16}


class Teaching(Protocol):
    """Declares what a teacher is made from: a student, alone or with its head."""

    def dense_copy(self) -> SparseBackbone | WholeNetwork:
        """Return a copy that keeps every token and shares no weights."""


class Teacher:
    """Holds a frozen dense copy of the student's network in evaluation mode.

    It is not an `nn.Module`, so that the module that holds it does not train, save, average or
    synchronize it.
    """

    def __init__(
        self, student: Teaching, precision: str | None = None, compiled: bool = False
    ) -> None:
        """Copy the student's network with its present weights.

        Args:
            student: The student to copy, with or without a head on its maps.
            precision: `bf16` or `fp16` autocast for the teacher alone; None takes the student's.
            compiled: Run it through `compile_for_inference`.

        Raises:
            InputError: If there is no such precision.
        """
        if precision is not None and precision not in PRECISIONS:
            raise InputError(f"teacher.precision={precision} is not null, bf16 or fp16.")
        self.student = student.dense_copy().as_teacher().requires_grad_(False)
        self.dtype = None if precision is None else PRECISIONS[precision]
        self._run: Callable[[Tensor], Output] = (
            compile_for_inference(self.student) if compiled else self.student
        )

    def shard(self, shard: Callable[[nn.Module], None]) -> None:
        """Apply `shard` to the network.

        Raises:
            InputError: If the network is compiled, with its weights as constants.
        """
        if self._run is not self.student:
            raise InputError(
                "A compiled teacher cannot be sharded: choose task.teacher.compiled=false."
            )
        shard(self.student)

    def follow(self, student: nn.Module) -> None:
        """Move to the student's device and precision."""
        weight = next(student.parameters())
        self.student.to(weight.device, weight.dtype)

    @torch.no_grad()
    def __call__(self, images: Tensor) -> TeacherOutput:
        """Return logits and features of `images (B, 3, S, S)`."""
        if self.dtype is None:
            output = self._run(images)
        else:
            with torch.autocast(images.device.type, self.dtype):
                output = self._run(images)
        return TeacherOutput.of(output)
