"""Predicts photographs batch by batch, with a picture of each where pictures are asked for."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import lightning as L
from torch import Tensor
from torch.utils.data import DataLoader
from typing_extensions import override

from ..datamodules.loading import cores
from ..datamodules.normalization import Normalization
from ..datamodules.unlabelled import Photograph
from ..datamodules.unlabelled_batches import PhotoBatch, UnlabelledFiles, load_photographs
from ..errors import InputError, some
from ..files import atomic_file
from ..modules.heads.base import Output, undefined
from ..predictions.base import Drawn, PictureNames, Predicted, Predictions, Record
from ..predictions.parts import Parts, Unread
from ..predictions.single import output_of
from .predictors import Predictor

log = logging.getLogger(__name__)

_NAMED = 20  # photographs that the warning names


class PredictionJob(L.LightningModule):
    """Predicts batches of photographs, or other files, and hands the results to the writer."""

    def __init__(
        self,
        predictor: Predictor,
        photographs: Sequence[Photograph],
        files: UnlabelledFiles,
        predictions: Predictions,
    ) -> None:
        """Take what `predictor` opened, the photographs, and how to read and write them."""
        super().__init__()
        self.network = predictor.network
        self.predictor = predictor
        self.photographs = photographs
        self.predictions = predictions
        self.unread: list[Unread] = []
        self._turned: list[int] = []
        self._files = files
        self._parts: Parts | None = None
        self._kept: list[Record] = []
        size = predictor.preprocessing
        self._normalization = Normalization(size.mean, size.std)
        folder = predictor.settings["pictures"]
        self._pictures = Path(folder or "")
        names = PictureNames()
        self._picture_names = {
            photograph.path: names.of(photograph.name)
            for photograph in (photographs if folder else ())
        }

    def files(self) -> list[Path]:
        """Return the files that are going to be written."""
        pictures = [self._pictures / name for name in self._picture_names.values()]
        return [*self.predictions.files(), *pictures]

    def collect_in(self, parts: Parts) -> None:
        """Collect predictions in this process's part instead of the file of all."""
        self._parts = parts
        self.predictions.keep = self._kept.extend

    def loader(self, numbers: Sequence[int]) -> DataLoader[PhotoBatch]:
        """Load the photographs of those numbers."""
        settings = self.predictor.settings
        workers = cores() if settings["num_workers"] is None else settings["num_workers"]
        return load_photographs(self._files, settings["batch_size"], workers, numbers)

    def named(self, unread: Sequence[Unread]) -> list[str]:
        """Name files that cannot be read, each with the reason."""
        return [f"{self.photographs[number].name} ({reason})" for number, reason in unread]

    def warn(self, unread: Sequence[Unread]) -> None:
        """Warn of files that cannot be read or that this process has read lying on their side."""
        if self._turned:
            log.warning(
                f"{len(self._turned)} {self.predictions.inputs.name} have an EXIF orientation, as "
                f"{self.photographs[self._turned[0]].name}, and are predicted as they are stored: "
                "turn them before, if the network was trained on upright ones."
            )
        if unread:
            log.warning(
                f"{len(unread)} of {len(self.photographs)} {self.predictions.inputs.name} cannot "
                f"be read and are left out: {some(self.named(unread), _NAMED)}."
            )

    @override
    def predict_step(self, batch: PhotoBatch, batch_idx: int) -> int:
        unread = [Unread(*one) for one in batch.unread]
        self.unread += unread
        self._turned += batch.turned
        if batch.numbers:
            self._predict(batch)
        if self._parts:
            self._parts.add(batch.numbers, self._kept, unread)
            self._kept.clear()
        return len(batch.numbers)  # Lightning warns of None

    def _predict(self, batch: PhotoBatch) -> None:
        output: Output = self.predictions.run(self.network, batch.images)
        if undefined(output).any():
            names = self.predictions.inputs.name
            raise InputError(
                f"The network gives outputs that are no numbers (NaN) for {names} as "
                f"{self.photographs[batch.numbers[int(undefined(output).long().argmax())]].name}: "
                "predict with trainer.precision=32-true, or give weights whose training has not "
                "diverged."
            )
        frame = (batch.images.shape[-2], batch.images.shape[-1])
        photographs = [self.photographs[number] for number in batch.numbers]
        self.predictions.write(
            [
                Predicted(photograph.name, size, frame)
                for photograph, size in zip(photographs, batch.sizes, strict=True)
            ],
            output,
        )
        if self._picture_names:
            for number, photograph in enumerate(photographs):
                self._draw(photograph, batch.images[number : number + 1], output_of(output, number))

    def _draw(self, photograph: Photograph, pixels: Tensor, output: Output) -> None:
        drawn = Drawn(self._files.original(photograph.path), pixels, self._normalization)
        picture = self.predictions.draw(drawn, output)
        with atomic_file(self._pictures / self._picture_names[photograph.path]) as partial:
            picture.save(partial)
