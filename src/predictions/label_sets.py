"""Writes the classes of images that may have several as a table."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor
from typing_extensions import override

from ..modules.heads.base import Output, of_student
from .base import Predicted
from .labels import Table


class LabelSetTable(Table):
    """Writes `file,labels`, the classes from `threshold` on, and each class's probability.

    Labels are separated by `|`, as in the tables that training reads.
    """

    @override
    def write(
        self, images: Sequence[Predicted], output: Output, target: object | None = None
    ) -> None:
        shares = of_student(output).logits.float().sigmoid()
        names = [self.options.name(number) for number in range(shares.shape[1])]
        rows = [
            [image.name, "|".join(self._labels(row)), *(f"{share:.4f}" for share in row)]
            for image, row in zip(images, shares.tolist(), strict=True)
        ]
        self.write_rows(["file", "labels", *names], rows)

    @override
    def caption(self, logits: Tensor) -> str:
        (shares,) = logits.float().sigmoid().tolist()
        return ", ".join(self._labels(shares)) or "none of the classes"

    def _labels(self, shares: Sequence[float]) -> list[str]:
        threshold = self.options.threshold
        return [self.options.name(i) for i, share in enumerate(shares) if share >= threshold]
