"""A training step, sparse against dense: `python -m src.bench.training --backbone deit_s`."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..config import compose_config
from ..errors import InputError
from ..measure.memory import peak_memory_mb
from ..measure.throughput import take_turns
from ..modules import create_student
from ..modules.backbones import vit
from ..modules.backbones.base import SparseBackbone
from ..modules.backbones.sequence import SequenceBackbone
from ..modules.layers import attention
from ..modules.losses import TeacherOutput
from ..modules.teacher import PRECISIONS, Teacher
from ..modules.weighted_loss import WeightedLoss, build_loss
from ..shell.program import one_sentence_errors
from .report import native_size, write

SHOWN = (
    "backbone",
    "batch_size",
    "image_size",
    "step",
    "step_ms",
    "over_dense",
    "explicit_over",
    "memory_mb",
)
Step = Callable[[], None]


def steps(
    backbone: str,
    *,
    rho: float,
    batch_size: int,
    image_size: int,
    device: str,
    precision: str | None = None,
    compiled: bool = False,
) -> dict[str, Step]:
    """What is compared, each a callable: forward and backward, no optimizer.

    `dense` is the timm network with cross-entropy; `student` the same under the papers' method,
    which masks (`dynamicvit`) or blends (`asymmetric`), and the keep ratio's loss; `whole` adds the
    teacher and all of the method's losses.
    `student removing` and `whole removing` are the same for a method that removes tokens in
    training too (`query_absorb`, or `query_paths` in hierarchical networks), with its auxiliary
    loss. For plain transformers `student explicit` and `whole explicit` are the released code's
    way: a T x T softmax for each head (paper A, Eq. 9-11) and a teacher of full precision, which
    `whole` has in `precision` and `compiled` if wanted.
    """
    place = torch.device(device)

    def student_of(method: str | None) -> SparseBackbone:
        student = create_student(backbone, rho=rho, image_size=image_size, method=method)
        return student.to(place).train()

    def loss_of(overrides: list[str], terms: Sequence[str] | None, student: Any) -> WeightedLoss:
        plan = compose_config([f"backbone={backbone}", *overrides], ["loss"])["loss"]
        loss = build_loss({name: plan[name] for name in terms or plan})
        loss.prepare(student, classes)
        return loss.to(place)

    student = student_of(None)  # the papers' method
    plain_sequence = isinstance(student, SequenceBackbone)
    removing = student_of("query_absorb" if plain_sequence else "query_paths")
    teacher, plain = Teacher(student, precision, compiled), Teacher(student)
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

    def dense() -> None:
        _backward(F.cross_entropy(student.backbone(images), target), student)

    def alone(student: SparseBackbone, loss: WeightedLoss) -> None:
        output = student(images)
        none = TeacherOutput(output.logits, output.features)
        _backward(loss(output, none, target)[0], student, loss)

    def whole(student: SparseBackbone, loss: WeightedLoss, teacher: Teacher) -> None:
        output = student(images)
        _backward(loss(output, teacher(images), target)[0], student, loss)

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


def measure(
    backbone: str,
    *,
    rho: float,
    batch_size: int,
    image_size: int,
    device: str,
    precision: str | None = None,
    compiled: bool = False,
    repeats: int = 5,
) -> list[dict[str, Any]]:
    """A row for each of `steps`, timed in turns.

    `over_dense` is the median of the turns' ratios; so is `explicit_over`, the time of the released
    way over this step's.
    """
    calls = steps(
        backbone,
        rho=rho,
        batch_size=batch_size,
        image_size=image_size,
        device=device,
        precision=precision,
        compiled=compiled,
    )
    times = take_turns(calls, repeats=repeats, seconds=0.0)
    place = torch.device(device)
    rows = []
    for name, mine in times.items():
        ratios = _ratios(mine, times["dense"])
        explicit = times.get(f"{name} explicit")
        rows.append(
            {
                "backbone": backbone,
                "rho": rho,
                "batch_size": batch_size,
                "image_size": image_size,
                "teacher_precision": precision,
                "teacher_compiled": compiled,
                "step": name,
                "step_ms": 1000 * median(mine),
                "over_dense": median(ratios),
                "over_dense_least": min(ratios),
                "over_dense_most": max(ratios),
                "explicit_over": median(_ratios(explicit, mine)) if explicit else None,
                "memory_mb": peak_memory_mb(calls[name], place),
                "repeats": repeats,
            }
        )
    return rows


def _ratios(ours: Sequence[float], theirs: Sequence[float]) -> list[float]:
    return [our / their for our, their in zip(ours, theirs, strict=True)]


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a table; write csv and circumstances."""
    parser = argparse.ArgumentParser(
        prog="python -m src.bench.training",
        description="Forward and backward of dense network, student, and student with teacher, "
        "in turns; `removing` takes tokens out in training too, `explicit` is the released code's "
        "way, a T x T softmax for each head.",
    )
    parser.add_argument("--backbone", default="deit_s", help="a name in conf/backbone")
    parser.add_argument("--rho", type=float, default=0.7)
    parser.add_argument("--batch", type=int, nargs="+", default=[16], help="batch sizes")
    parser.add_argument(
        "--image-size", type=int, nargs="+", help="sides in pixels; the backbone's own by default"
    )
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument(
        "--teacher-precision", choices=PRECISIONS, help="as task.teacher.precision; full by default"
    )
    parser.add_argument(
        "--teacher-compiled", action="store_true", help="as task.teacher.compiled=true"
    )
    parser.add_argument("--repeats", type=int, default=5, help="turns")
    parser.add_argument("--out", type=Path, default=Path("reports/bench_training"), help="folder")
    options = parser.parse_args(arguments)
    for batch in options.batch:
        if batch < 1:
            raise InputError(f"--batch {batch} is no batch size: give a whole number from 1.")
    rows: list[dict[str, Any]] = []
    for image_size in options.image_size or [native_size(options.backbone)]:
        for batch in options.batch:
            rows += measure(
                options.backbone,
                rho=options.rho,
                batch_size=batch,
                image_size=image_size,
                device=options.device,
                precision=options.teacher_precision,
                compiled=options.teacher_compiled,
                repeats=options.repeats,
            )
    write(rows, options.out, SHOWN, torch.device(options.device))


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


if __name__ == "__main__":
    with one_sentence_errors():
        main()
