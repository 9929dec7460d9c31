"""Types the settings that every task takes and hands on to its base."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict

from typing_extensions import Required

from ..checkpoints.checkpoint import Checkpoint
from ..config import Settings


class TaskSettings(TypedDict, total=False):
    """Names the arguments of a task beside its `num_classes`; `SparseModule` says what they are."""

    backbone: Required[Settings]
    method: Required[Settings]
    schedule: Required[Settings]
    loss: Required[dict[str, Settings]]
    optimizer: Required[Settings]
    present_classes: Sequence[int] | None
    teacher: Settings | None
    checkpoint: Checkpoint | None


class DenseSettings(TaskSettings):
    """Names the arguments of a task with a head on the student's maps."""

    head: Settings
