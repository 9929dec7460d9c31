"""Builds the training steps that the benchmark compares."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
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
Network = Callable[[Tensor], Tensor]


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
    compile_mode: str | None = None,
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
      Compiled networks leave them out.

    Args:
        backbone: A name in `conf/backbone`.
        rho: Base keep ratio.
        batch_size: Images of a step.
        image_size: Side in pixels.
        device: As PyTorch names it.
        precision: Autocast of all networks to `bf16` or `fp16`; None for none.
        teacher_precision: Autocast of the teacher in `whole`; None for that of all networks.
        teacher_compiled: Compile the teacher in `whole`.
        compile_mode: Run the dense network and the students through `torch.compile` in this mode,
            as `callbacks=[default,compiled]` does; None runs them as they are.
    """
    place = torch.device(device)

    def student_of(method: str | None) -> SparseBackbone:
        student = create_student(backbone, rho=rho, image_size=image_size, method=method)
        return student.to(place).train()

    masking = student_of(None)  # the papers' method
    plain_sequence = isinstance(masking, SequenceBackbone)
    removing = student_of("query_absorb" if plain_sequence else "query_paths")
    teacher, plain = Teacher(masking, teacher_precision, teacher_compiled), Teacher(masking)
    images = torch.randn(batch_size, 3, image_size, image_size, device=place)
    classes = masking(images[:1]).logits.shape[-1]
    target = torch.randint(0, classes, (batch_size,), device=place)
    loss = partial(_loss, backbone, classes, place)
    masked_loss, removing_loss = loss(masking), loss(removing)
    autocast = partial(
        torch.autocast, place.type, PRECISIONS.get(precision or ""), precision is not None
    )
    dense: Network = masking.backbone
    if compile_mode is not None:
        torch.compiler.reset()  # another batch size is another program, not one of any size
        dense = torch.compile(masking.backbone, mode=compile_mode)
        for student in (masking, removing):
            vars(student)["forward"] = torch.compile(student.forward, mode=compile_mode)
    batch = _Batch(images, target, autocast)
    alone = partial(batch.alone, masking, loss(masking, terms=("classification", "keep_ratio")))
    calls: dict[str, Step] = {
        "dense": partial(batch.dense, dense, masking.backbone),
        "student": alone,
        "student removing": partial(
            batch.alone,
            removing,
            loss(
                removing,
                ["loss.auxiliary._target_=src.modules.auxiliary.AuxiliaryClassification"],
                ("classification", "auxiliary"),
            ),
        ),
        "whole": partial(batch.taught, masking, masked_loss, teacher),
        "whole removing": partial(batch.taught, removing, removing_loss, teacher),
    }
    if plain_sequence and compile_mode is None:
        calls["student explicit"] = _explicitly(alone)
        calls["whole explicit"] = _explicitly(partial(batch.taught, masking, masked_loss, plain))
    return calls


@dataclass(frozen=True)
class _Batch:
    """Holds the images and labels of every step, and the precision in which networks run."""

    images: Tensor
    target: Tensor
    autocast: Callable[[], torch.autocast]

    def dense(self, network: Network, weights: nn.Module) -> None:
        with self.autocast():
            value = F.cross_entropy(network(self.images), self.target)
        _backward(value, weights)

    def alone(self, student: SparseBackbone, loss: WeightedLoss) -> None:
        with self.autocast():
            output = student(self.images)
            value = loss(output, TeacherOutput(output.logits, output.features), self.target)[0]
        _backward(value, student, loss)

    def taught(self, student: SparseBackbone, loss: WeightedLoss, teacher: Teacher) -> None:
        with self.autocast():
            value = loss(student(self.images), teacher(self.images), self.target)[0]
        _backward(value, student, loss)


def _loss(
    backbone: str,
    classes: int,
    place: torch.device,
    student: SparseBackbone,
    overrides: Sequence[str] = (),
    terms: Sequence[str] = (),
) -> WeightedLoss:
    """Return the loss that the backbone's settings choose for `student`, or these terms of it."""
    plan = compose_config([f"backbone={backbone}", *overrides], ["loss"])["loss"]
    loss = build_loss({name: plan[name] for name in terms or plan})
    loss.prepare(student, classes)
    return loss.to(place)


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
