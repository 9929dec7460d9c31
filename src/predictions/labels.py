"""Writes the class of each image as a table."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import cast

from PIL import Image
from torch import Tensor
from typing_extensions import override

from ..files import atomic_file, naming
from ..modules.classification import restrict
from ..modules.heads.base import Output, of_student
from ..pictures.overlays import captioned
from ..pictures.tokens import draw_token_maps
from ..reports.tables import TableWriter
from .base import Drawn, Predicted, Predictions, Record


class Table(Predictions):
    """Writes a csv file with a row for each image; `TableWriter` says how names are written."""

    default = "predictions.csv"

    @override
    def start(self) -> None:
        partial = self.open.enter_context(atomic_file(self.path))
        file = self.open.enter_context(partial.open("w", newline="", encoding="utf-8"))
        self._table = TableWriter(file)
        self._empty = True

    def write_rows(self, header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        """Write rows, and before the first of them `header`."""
        self.emit([[list(header), list(row)] for row in rows])

    @override
    def put(self, records: Sequence[Record]) -> None:
        with naming(self.path):
            for header, row in cast("Sequence[tuple[list[str], list[object]]]", records):
                if self._empty:
                    self._table.write(header)
                self._table.write(row)
                self._empty = False

    @override
    def draw(self, image: Drawn, output: Output) -> Image.Image:
        maps = draw_token_maps(image.pixels, of_student(output), image.normalization)
        return captioned(maps, self.caption(of_student(output).logits))

    @abstractmethod
    def caption(self, logits: Tensor) -> str:
        """Return in words what `logits (1, classes)` say."""


class LabelTable(Table):
    """Writes `file,prediction,confidence`, and the further classes of `top_k` likewise."""

    @classmethod
    @override
    def of_evaluation(cls) -> type[Predictions]:
        return EvaluatedLabels

    @override
    def write(
        self, images: Sequence[Predicted], output: Output, target: object | None = None
    ) -> None:
        found = self._likeliest(of_student(output).logits)
        header = ["file", "prediction", "confidence"]
        for place in range(2, len(found[0]) + 1):
            header += [f"prediction_{place}", f"confidence_{place}"]
        rows = [
            [image.name, *(cell for name, sure in pairs for cell in (name, f"{sure:.4f}"))]
            for image, pairs in zip(images, found, strict=True)
        ]
        self.write_rows(header, rows)

    @override
    def caption(self, logits: Tensor) -> str:
        (pairs,) = self._likeliest(logits)
        return ", ".join(f"{name} ({100 * sure:.0f} %)" for name, sure in pairs)

    def _likeliest(self, logits: Tensor) -> list[list[tuple[str, float]]]:
        shares = logits.float().softmax(-1)
        confidences, outputs = shares.topk(min(self.options.top_k, shares.shape[-1]))
        return [
            [(self.options.name(output), sure) for output, sure in zip(*pair, strict=True)]
            for pair in zip(outputs.tolist(), confidences.tolist(), strict=True)
        ]


class EvaluatedLabels(LabelTable):
    """Writes `image,label,prediction,confidence`, with classes by their numbers.

    Where the data holds only some of the network's classes, `prediction_present` is the likeliest
    of those.
    """

    @override
    def write(
        self, images: Sequence[Predicted], output: Output, target: object | None = None
    ) -> None:
        assert isinstance(target, Tensor)
        logits = of_student(output).logits
        confidence, prediction = logits.float().softmax(-1).max(-1)
        columns: dict[str, Sequence[object]] = {
            "image": [image.name for image in images],
            "label": target.tolist(),
            "prediction": prediction.tolist(),
            "confidence": [f"{sure:.4f}" for sure in confidence.tolist()],
        }
        if self.options.present_classes is not None:
            among = restrict(logits, self.options.present_classes)
            columns["prediction_present"] = among.argmax(-1).tolist()
        self.write_rows([*columns], [*zip(*columns.values(), strict=True)])
