"""Types the batches that enter a task's steps, and the results that callbacks receive."""

from __future__ import annotations

from typing import Any, TypedDict

from torch import Tensor

from .heads.base import Output

# Images `(B, 3, S, S)` and the task's targets.
Batch = tuple[Tensor, Any]


class TrainingStep(TypedDict):
    """Holds what a training step hands to callbacks.

    Attributes:
        loss: The weighted sum of the terms, with gradients.
        terms: Each term by its name, without its weight and without gradients.
        kept: Share of patches kept `(S, B)` at each location in each image.
    """

    loss: Tensor
    terms: dict[str, Tensor]
    kept: Tensor


class EvaluationStep(TypedDict):
    """Holds what a validation or test step hands to callbacks.

    Attributes:
        output: The student's output, with the head's predictions where the task has a head.
        kept: Share of patches kept `(S, B)` at each location in each image.
    """

    output: Output
    kept: Tensor
