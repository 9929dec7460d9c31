"""Parameter groups and the learning rate's course."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from torch import nn

from .backbones.base import SparseBackbone


def parameter_groups(
    student: SparseBackbone,
    lr: float,
    backbone_lr_scale: float,
    weight_decay: float,
    others: Mapping[str, nn.Module | None] = MappingProxyType({}),
) -> list[dict[str, Any]]:
    """Group the backbone's parameters at `lr * backbone_lr_scale`, all others at `lr`.

    Biases, norms and what the network itself exempts are not decayed. (The released code left
    class token and position embedding out of the optimizer altogether.)
    """
    exempt: set[str] = getattr(student.backbone, "no_weight_decay", set)()
    groups: dict[str, dict[str, Any]] = {}
    # Frozen parameters too: timm's own grouping leaves them out, and they may thaw later.
    parts = [
        ("backbone", student.backbone, lr * backbone_lr_scale),
        ("method", student.method, lr),
    ]
    parts += [(name, module, lr) for name, module in others.items() if module is not None]
    for part, module, rate in parts:
        for name, parameter in module.named_parameters():
            leaf = name.rpartition(".")[2]
            decays = parameter.ndim > 1 and leaf != "bias" and not {name, leaf} & exempt
            kind = f"{part}/{'decay' if decays else 'no_decay'}"
            options = {"lr": rate, "weight_decay": weight_decay if decays else 0.0, "name": kind}
            groups.setdefault(kind, {"params": [], **options})["params"].append(parameter)
    return list(groups.values())


def scaled_lr(lr: float, effective_batch: int, reference_batch: int) -> float:
    """The rate for this batch by the linear rule: `lr` is meant for `reference_batch` images."""
    return lr * effective_batch / reference_batch


def warmup_cosine(
    peak: float, minimum: float, warmup_steps: int, total_steps: int
) -> Callable[[int], float]:
    """Factor on `peak` at each step: a linear rise from near 0, then a cosine to `minimum`."""
    floor = min(1.0, minimum / peak) if peak > 0 else 1.0

    def factor(step: int) -> float:
        if step < warmup_steps:
            return (step + 1) / warmup_steps
        progress = (step - warmup_steps) / max(1, total_steps - warmup_steps)
        return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))

    return factor
