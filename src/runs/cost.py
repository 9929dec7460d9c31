"""Measures cost and speed of students and of their dense networks, as columns of a row."""

from __future__ import annotations

import torch

from ..measure.complexity import count_gmacs, count_params_m
from ..measure.throughput import compare_speed
from ..modules.backbones.base import SparseBackbone
from ..modules.base import SparseModule
from ..modules.dense import DenseModule
from ..modules.heads.base import whole_cost, whole_speed
from ..reports.rows import Row

# Columns under the names that a training logs.
LOGGED = {
    f"{whole}{name}": f"{group}/{whole}{name}"
    for whole in ("", "whole_")
    for group, names in {
        "complexity": ("gmacs", "gmacs_share", "params_m"),
        "throughput": ("images_per_s", "speedup"),
    }.items()
    for name in names
}


def cost_of(module: SparseModule, image_size: int, batch_size: int) -> Row:
    """Measure a module's student, and the student with its head where there is one."""
    row: Row = cost_and_speed(module.student, image_size, batch_size)
    if isinstance(module, DenseModule):
        whole = module.whole.eval()
        costs = whole_cost(whole, image_size) | whole_speed(whole, image_size, batch_size)
        return {**row, **costs}
    return row


def cost_and_speed(student: SparseBackbone, image_size: int, batch_size: int) -> Row:
    """Measure GMACs, parameters and speed of a student beside its dense network, in turns.

    `speedup` is the median over turns of the ratio within a turn, which noise moves less than the
    quotient of `images_per_s` and `images_per_s_dense`, each a median by itself.

    Args:
        student: On the device to time on.
        image_size: Side in pixels.
        batch_size: Images in the timed batch.
    """
    device = next(student.parameters()).device
    sides = student.input_sides(image_size)
    images = torch.randn(batch_size, 3, *sides, device=device)
    speed = compare_speed({"dense": student.backbone, "sparse": student}, [images])
    coarse = device.type == "cuda" and torch.get_float32_matmul_precision() != "highest"
    gmacs = count_gmacs(student, sides)
    dense_gmacs = count_gmacs(student.backbone, sides)
    return {
        "gmacs": gmacs,
        "gmacs_dense": dense_gmacs,
        "gmacs_share": gmacs / dense_gmacs,
        "params_m": count_params_m(student),
        "images_per_s": speed["sparse"].images_per_s,
        "images_per_s_dense": speed["dense"].images_per_s,
        "speedup": speed["sparse"].over(speed["dense"])[0],
        "batch_size": batch_size,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "precision": "float32, TF32 products" if coarse else "float32",
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }
