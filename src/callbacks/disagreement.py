"""Compares the tokens and predictions of two methods on the same network and images."""

from __future__ import annotations

import lightning as L
import torch
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor
from typing_extensions import override

from ..config import Settings
from ..datamodules.attached import data_of
from ..datamodules.base import ImageDataModule
from ..errors import InputError
from ..files import atomic_file
from ..modules.backbones.base import SparseBackbone, SparseOutput
from ..modules.base import SparseModule
from ..modules.heads.base import of_student
from ..modules.step_results import Batch, EvaluationStep
from ..modules.student import attach
from ..pictures import draw_disagreement
from ..pictures.patch_grid import PatchGrid
from ..pictures.tokens import overlaps, seen
from ..reports.tables import TableWriter
from .output import LabelOutput

_DRAWN = 8  # images


class Disagreement(LabelOutput):
    """Draws the images on which the tested student and another keep the least in common.

    Writes a picture and, beside it under the same name, a `.csv` with a line for each image: both
    predictions and, for each location, the overlap, which is what both methods keep over what
    either keeps, in shares of tokens. Prints on how many images the predictions differ.
    """

    setting = "disagreement"
    other: SparseBackbone

    def __init__(
        self,
        path: str,
        against: Settings | None = None,
        schedule: Settings | None = None,
    ) -> None:
        """Describe the other student, which runs on every batch of the test too.

        Args:
            path: The picture, a `.png`.
            against: Settings of its method, as in `conf/method`.
            schedule: Settings of its schedule, as in `conf/schedule`.
        """
        super().__init__(path)
        self.against, self.schedule = against, schedule

    @override
    def prepare(self, trainer: L.Trainer, module: SparseModule, data: ImageDataModule) -> None:
        super().prepare(trainer, module, data)
        if not self.against or self.schedule is None:
            raise InputError(
                f"disagreement={self.path} compares two methods, and only one is named: add the "
                "other, as method@against=evit."
            )
        self.other = attach(module.student.backbone, self.against, self.schedule)
        self.names = data.val_filenames()

    @override
    def on_test_start(self, trainer: L.Trainer, pl_module: SparseModule) -> None:
        self.other = self.other.to(pl_module.device).eval()
        locations = pl_module.student.method.schedule.locations
        others = self.other.method.schedule.locations
        if others != locations or not locations:
            raise InputError(
                f"A disagreement needs two methods that decide in the same blocks, and these do "
                f"in {list(locations)} and {list(others)}: leave method=dense out."
            )
        self._rows: list[tuple[int, int, int]] = []  # label and both predictions
        self._overlaps: list[Tensor] = []  # (B, locations)
        self._images: list[Tensor] = []
        self._shares: list[Tensor] = []  # (B, 2, locations, patches)

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
        images, labels = batch
        first = of_student(outputs["output"])
        second: SparseOutput = self.other(images)
        predictions = [output.logits.argmax(dim=1).tolist() for output in (first, second)]
        self._rows += list(zip(labels.tolist(), *predictions, strict=True))
        numbers = range(len(first.steps))
        pair = [torch.stack([s.shares() for s in o.steps], dim=1) for o in (first, second)]
        shares = torch.stack(pair, dim=1).float()
        common = [overlaps(shares[:, 0, i], shares[:, 1, i]) for i in numbers]
        self._overlaps.append(torch.stack(common, dim=1).cpu())
        self._images.append(seen(images, first).cpu())
        self._patches = PatchGrid.of(first, self._images[-1])
        self._shares.append(shares.cpu())
        self._keep_most_disputed()

    @override
    def on_test_end(self, trainer: L.Trainer, pl_module: SparseModule) -> None:
        if not trainer.is_global_zero:
            return
        locations = pl_module.student.method.schedule.locations
        data = data_of(trainer)
        images, shares = self._images[0], self._shares[0]
        first, second = (list(shares[:, i].unbind(dim=1)) for i in (0, 1))
        names = (pl_module.student.method.name, self.other.method.name)
        picture = draw_disagreement(
            images, first, second, names, locations, data.normalization, self._patches
        )
        with atomic_file(self.path) as partial:
            picture.save(partial)
        common = torch.cat(self._overlaps)
        called = list(self.names) if self.names else range(len(common))
        with (
            atomic_file(self.path.with_suffix(".csv")) as partial,
            partial.open("w", newline="", encoding="utf-8") as file,
        ):
            table = TableWriter(file)
            table.write(["image", "label", "first", "second", *(f"common_{i}" for i in locations)])
            for number, (row, shared) in enumerate(zip(self._rows, common.tolist(), strict=True)):
                table.write([called[number], *row, *(f"{value:.4f}" for value in shared)])
        differ = sum(first != second for _, first, second in self._rows)
        rank_zero_info(
            f"The two methods answer differently on {differ} of {len(self._rows)} images and keep "
            f"{100 * common[:, -1].mean():.0f} % in common at the last location: {self.path}"
        )

    def _keep_most_disputed(self) -> None:
        images, shares = torch.cat(self._images), torch.cat(self._shares)
        common = torch.stack([overlaps(s[0, -1:], s[1, -1:]).squeeze(0) for s in shares])
        chosen = common.argsort()[:_DRAWN]
        self._images, self._shares = [images[chosen]], [shares[chosen]]
