"""Takes the output for one image out of that for a batch."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from ..modules.backbones.output import SparseOutput, Step
from ..modules.heads.base import DenseOutput, Output


def output_of(output: Output, number: int) -> Output:
    """Return what `output` says of image `number`, as the output for a batch of one."""
    if isinstance(output, DenseOutput):
        return replace(
            output,
            backbone=_student_s(output.backbone, number),
            logits=_one(output.logits, number),
            detections=output.detections[number : number + 1],
        )
    return _student_s(output, number)


def _student_s(output: SparseOutput, number: int) -> SparseOutput:
    return replace(
        output,
        logits=output.logits[number : number + 1],
        features=output.features[number : number + 1],
        size=output.size[number : number + 1],
        steps=tuple(_step(step, number) for step in output.steps),
        source=_one(output.source, number),
        token_logits=_one(output.token_logits, number),
        maps=tuple(level[number : number + 1] for level in output.maps),
        summaries=(),
    )


def _step(step: Step, number: int) -> Step:
    keep, count = step.keep[number : number + 1], step.count[number : number + 1]
    return replace(step, keep=keep, count=count, source=_one(step.source, number))


def _one(values: Tensor | None, number: int) -> Tensor | None:
    return None if values is None else values[number : number + 1]
