"""Finds the parts of a student that are gathered one at a time where weights are sharded."""

from __future__ import annotations

from torch import nn

from .backbones.base import SparseBackbone
from .backbones.sequence import SequenceBackbone
from .backbones.spatial import SpatialBackbone


def units_of(student: SparseBackbone) -> list[nn.Module]:
    """Return the student's blocks in order."""
    if isinstance(student, SequenceBackbone):
        return list(student.blocks())
    if isinstance(student, SpatialBackbone):
        return [block for stage in student.stages() for block in stage.blocks]
    return []
