"""Maps where in the image tokens are kept, over a data set (paper A, Figure 6)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import lightning as L
import torch
from torch import Tensor
from typing_extensions import override

from ..datamodules.base import ImageDataModule
from ..files import atomic_file
from ..modules.base import SparseModule
from ..modules.heads.base import of_student
from ..modules.step_results import Batch, EvaluationStep
from ..pictures import draw_class_maps, draw_position_map
from ..pictures.patch_grid import PatchGrid
from ..reports.tables import TableWriter
from .output import LabelOutput

_DRAWN = 8  # classes


class PositionMap(LabelOutput):
    """Draws how much of a token each image position keeps, on average, for each location.

    The share is 1 for a patch that is kept, 0 for one that is dropped, 1/s for one of s merged
    into one token. Writes a picture and, beside it under the same name, the numbers as `.csv`:
    class (or `all`), location, row, column, share.
    """

    setting = "position_map"

    @override
    def on_test_start(self, trainer: L.Trainer, pl_module: SparseModule) -> None:
        self._sums: dict[int, Tensor] = {}  # of each class (locations, patches)
        self._images: dict[int, int] = {}

    @override
    def on_test_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: SparseModule,
        outputs: EvaluationStep,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        output = of_student(outputs["output"])
        if not output.steps:
            return
        shares = torch.stack([step.shares() for step in output.steps]).double().cpu()
        labels, patches = batch[1].cpu(), PatchGrid.of(output, batch[0])
        self._sides = patches.rows, patches.columns
        for label in labels.unique().tolist():
            chosen = labels == label
            self._sums[label] = self._sums.get(label, 0) + shares[:, chosen].sum(dim=1)
            self._images[label] = self._images.get(label, 0) + int(chosen.sum())

    def on_test_end(self, trainer: L.Trainer, pl_module: SparseModule) -> None:
        """Write the maps; none if the method takes no decisions."""
        if self._sums and trainer.is_global_zero:
            self.write(pl_module.student.method.schedule.locations)

    def write(self, locations: tuple[int, ...]) -> None:
        """Write the mean over all images, as picture and as csv."""
        mean = self.mean()
        draw_position_map(list(mean), locations, self.path)
        self.write_numbers({"all": mean}, locations)

    def mean(self, label: int | None = None) -> Tensor:
        """Return mean shares `(locations, rows, columns)`, of all images or of one class."""
        labels = list(self._sums) if label is None else [label]
        total = torch.stack([self._sums[i] for i in labels]).sum(dim=0)
        return (total / sum(self._images[i] for i in labels)).unflatten(1, self._sides)

    def write_numbers(self, maps: dict[str, Tensor], locations: tuple[int, ...]) -> None:
        """Write the maps `(locations, rows, columns)` by name to the csv beside the picture."""
        with (
            atomic_file(self.path.with_suffix(".csv")) as partial,
            partial.open("w", newline="", encoding="utf-8") as file,
        ):
            table = TableWriter(file)
            table.write(["class", "location", "row", "column", "share"])
            for name, shares in maps.items():
                for location, share in zip(locations, shares, strict=True):
                    for row, values in enumerate(share.tolist()):
                        for column, value in enumerate(values):
                            table.write([name, location, row, column, f"{value:.4f}"])


class ClassMap(PositionMap):
    """Draws the maps of single classes, those that differ most from the mean of all.

    The picture shows the eight classes whose maps at the last location are farthest from the
    mean; the csv holds every class.
    """

    setting = "class_map"

    def __init__(self, path: str, class_name: Callable[[int], str] | None = None) -> None:
        """Write to `path`; `class_name` names a label, by default as the data does."""
        super().__init__(path)
        self.class_name = class_name

    @override
    def prepare(self, trainer: L.Trainer, module: SparseModule, data: ImageDataModule) -> None:
        super().prepare(trainer, module, data)
        self.class_name = self.class_name or data.class_name

    def write(self, locations: tuple[int, ...]) -> None:
        """Write the mean of each class, as picture and as csv."""
        maps = {label: self.mean(label) for label in sorted(self._sums)}
        everyone = self.mean()[-1]
        distance = {label: float((m[-1] - everyone).square().sum()) for label, m in maps.items()}
        drawn = sorted(maps, key=lambda label: -distance[label])[:_DRAWN]
        rows = [list(maps[label]) for label in drawn]
        named = self.class_name or str
        names = distinct({label: named(label) for label in maps})
        draw_class_maps(rows, [names[label] for label in drawn], locations, self.path)
        self.write_numbers({names[k]: shares for k, shares in maps.items()}, locations)


def distinct(names: dict[int, str]) -> dict[int, str]:
    """Return names by label, with the label added to names that several share: crane (517)."""
    count = Counter(names.values())
    made = {k: name if count[name] == 1 else f"{name} ({k})" for k, name in names.items()}
    # A name may read like one that was made: then all are followed by their labels.
    if len(set(made.values())) < len(made):
        return {label: f"{name} ({label})" for label, name in names.items()}
    return made
