"""Takes the output for some images out of that for a batch."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from ..modules.backbones.output import SparseOutput, Step
from ..modules.heads.base import DenseOutput, Output


def output_of(output: Output, number: int) -> Output:
    """Return what `output` says of image `number`, as the output for a batch of one."""
    rows = slice(number, number + 1)
    if isinstance(output, DenseOutput):
        return replace(
            output,
            backbone=rows_of(output.backbone, rows),
            logits=_rows(output.logits, rows),
            detections=output.detections[rows],
        )
    return rows_of(output, rows)


def rows_of(output: SparseOutput, rows: slice) -> SparseOutput:
    """Return what a student's `output` says of some images, as the output for a batch of them."""
    return replace(
        output,
        logits=output.logits[rows],
        features=output.features[rows],
        size=output.size[rows],
        steps=tuple(_step(step, rows) for step in output.steps),
        source=_rows(output.source, rows),
        token_logits=_rows(output.token_logits, rows),
        maps=tuple(level[rows] for level in output.maps),
        summaries=(),
    )


def _step(step: Step, rows: slice) -> Step:
    return replace(
        step, keep=step.keep[rows], count=step.count[rows], source=_rows(step.source, rows)
    )


def _rows(values: Tensor | None, rows: slice) -> Tensor | None:
    return None if values is None else values[rows]
