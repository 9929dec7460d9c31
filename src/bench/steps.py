"""Builds the training steps that the benchmark compares."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from unittest.mock import patch

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..config import compose_config
from ..modules import create_student
from ..modules.backbones import vit
from ..modules.backbones.base import SparseBackbone
from ..modules.backbones.sequence import SequenceBackbone
from ..modules.layers import attention
from ..modules.losses import TeacherOutput
from ..modules.teacher import PRECISIONS, Teacher
from ..modules.weighted_loss import WeightedLoss, build_loss

Step = Callable[[], None]


def steps(
    backbone: str,
    *,
    rho: float,
    batch_size: int,
    image_size: int,
    device: str,
    precision: str | None = None,
    teacher_precision: str | None = None,
    teacher_compiled: bool = False,
) -> dict[str, Step]:
    """Return the steps to compare, by name: each runs forward and backward, without an optimizer.

    - `dense` is the timm network with cross-entropy.
    - `student` adds the papers' method, which masks (`dynamicvit`) or blends (`asymmetric`), and
      the loss of the keep ratio.
    - `whole` adds the teacher and all of the method's losses.
    - `student removing` and `whole removing` are the same with a method that removes tokens in
      training too (`query_absorb`, or `query_paths` in hierarchical networks) and its auxiliary
      loss.
    - `student explicit` and `whole explicit`, for plain transformers, compute as the released code:
      with a T x T softmax for each head (paper A, Eq. 9-11) and a teacher in full precision.

    Args:
        backbone: A name in `conf/backbone`.
        rho: Base keep ratio.
        batch_size: Images of a step.
        image_size: Side in pixels.
        device: As PyTorch names it.
        precision: Autocast of all networks to `bf16` or `fp16`; None for none.
        teacher_precision: Autocast of the teacher in `whole`; None for that of all networks.
        teacher_compiled: Compile the teacher in `whole`.
    """
    place = torch.device(device)

    def student_of(method: str | None) -> SparseBackbone:
        student = create_student(backbone, rho=rho, image_size=image_size, method=method)
        return student.to(place).train()

    def loss_of(
        overrides: list[str], terms: Sequence[str] | None, student: SparseBackbone
    ) -> WeightedLoss:
        plan = compose_config([f"backbone={backbone}", *overrides], ["loss"])["loss"]
        loss = build_loss({name: plan[name] for name in terms or plan})
        loss.prepare(student, classes)
        return loss.to(place)

    student = student_of(None)  # the papers' method
    plain_sequence = isinstance(student, SequenceBackbone)
    removing = student_of("query_absorb" if plain_sequence else "query_paths")
    teacher, plain = Teacher(student, teacher_precision, teacher_compiled), Teacher(student)
    images = torch.randn(batch_size, 3, image_size, image_size, device=place)
    classes = student(images[:1]).logits.shape[-1]
    target = torch.randint(0, classes, (batch_size,), device=place)
    losses = {
        "masked": loss_of([], None, student),
        "masked alone": loss_of([], ("classification", "keep_ratio"), student),
        "removing": loss_of([], None, removing),
        "removing alone": loss_of(
            ["loss.auxiliary._target_=src.modules.auxiliary.AuxiliaryClassification"],
            ("classification", "auxiliary"),
            removing,
        ),
    }

    autocast = partial(
        torch.autocast, place.type, PRECISIONS.get(precision or ""), precision is not None
    )

    def dense() -> None:
        with autocast():
            value = F.cross_entropy(student.backbone(images), target)
        _backward(value, student)

    def alone(student: SparseBackbone, loss: WeightedLoss) -> None:
        with autocast():
            output = student(images)
            value = loss(output, TeacherOutput(output.logits, output.features), target)[0]
        _backward(value, student, loss)

    def whole(student: SparseBackbone, loss: WeightedLoss, teacher: Teacher) -> None:
        with autocast():
            value = loss(student(images), teacher(images), target)[0]
        _backward(value, student, loss)

    masked = partial(alone, student, losses["masked alone"])
    calls: dict[str, Step] = {
        "dense": dense,
        "student": masked,
        "student removing": partial(alone, removing, losses["removing alone"]),
        "whole": partial(whole, student, losses["masked"], teacher),
        "whole removing": partial(whole, removing, losses["removing"], teacher),
    }
    if plain_sequence:
        calls["student explicit"] = _explicitly(masked)
        calls["whole explicit"] = _explicitly(partial(whole, student, losses["masked"], plain))
    return calls


def _explicitly(step: Step) -> Step:
    def run() -> None:
        with patch.object(vit, "attend", _explicit):
            step()

    return run


def _explicit(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    size: Tensor | None = None,
    dropout: float = 0.0,
    scale: float | None = None,
) -> Tensor:
    scale = query.shape[-1] ** -0.5 if scale is None else scale
    if size is None:
        size = query.new_ones(len(query), query.shape[2])
    return attention.explicit(query, key, value, size, scale, dropout)


def _backward(loss: Tensor, *modules: nn.Module) -> None:
    loss.backward()  # type: ignore[no-untyped-call]
    for module in modules:
        _clear(module.parameters())


def _clear(parameters: Iterable[nn.Parameter]) -> None:
    for parameter in parameters:
        parameter.grad = None
