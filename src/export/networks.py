"""Builds the network that an export writes: a student, or a student with its head."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ..checkpoints.checkpoint import PREPROCESSING, Checkpoint
from ..config import instantiate, locate
from ..errors import InputError
from ..modules.backbones.base import SparseBackbone
from ..modules.dense import DenseModule
from ..modules.heads.base import WholeNetwork
from ..modules.networks.create import own_classes
from ..modules.student import build_student

Network = SparseBackbone | WholeNetwork


def student_of(network: Network) -> SparseBackbone:
    """Return the student of a network, with or without a head."""
    return network.student if isinstance(network, WholeNetwork) else network


def build(settings: dict[str, Any], checkpoint: Checkpoint | None) -> tuple[Network, int]:
    """Build the network that `conf/export.yaml` describes.

    Args:
        settings: `conf/export.yaml`, resolved.
        checkpoint: The file `backbone.weights`, if there is one.

    Returns:
        The network in evaluation mode, and the side of its images in pixels.
    """
    backbone, task = settings["backbone"], locate(settings["task"])
    if issubclass(task, DenseModule):
        return _with_head(settings, checkpoint)
    student = build_student(
        backbone,
        settings["method"],
        settings["schedule"],
        (checkpoint and checkpoint.num_classes) or own_classes(backbone["network"]),
        checkpoint=checkpoint,
    )
    student.task = task.task
    return student.eval(), backbone["image_size"]


def _with_head(settings: dict[str, Any], checkpoint: Checkpoint | None) -> tuple[Network, int]:
    data = instantiate(settings["datamodule"])
    names = checkpoint.class_names if checkpoint else None
    if names is None:
        names = data.class_names
    module: DenseModule = instantiate(
        settings["task"], num_classes=len(names or ()) or data.num_classes, checkpoint=checkpoint
    )
    if reason := module.head.not_exported:
        raise InputError(f"{type(module.head).__name__} cannot be exported: {reason}.")
    module.student.class_names = names
    if checkpoint is None or PREPROCESSING not in checkpoint.content:
        module.student.preprocessing = data.preprocessing
    else:  # loaded from the file, in the network's size
        size = (data.image_size, data.image_size)
        module.student.preprocessing = replace(module.student.preprocessing, size=size)
    return module.whole.eval(), data.image_size
