"""Predicts photographs without labels, and writes what was predicted."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning as L
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig
from torch import Tensor
from typing_extensions import override

from ..callbacks.stop_at_signal import StopAtSignal
from ..config import instantiate
from ..datamodules.loading import cores
from ..datamodules.normalization import Normalization
from ..datamodules.unlabelled import (
    PhotoBatch,
    Photograph,
    UnlabelledPhotos,
    evaluation_transform,
    find_photographs,
    load_photographs,
    read_photograph,
)
from ..errors import InputError, some
from ..files import atomic_file
from ..modules.heads.base import Output
from ..predictions.base import Drawn, Options, PictureNames, Predicted, Predictions
from ..predictions.single import output_of
from ..ranges import Number
from .predictors import Predictor, open_predictor

log = logging.getLogger(__name__)

_NAMED = 20  # photographs that the warning names
_NUMBERS = {
    "batch_size": Number(32, least=1, whole=True),
    "num_workers": Number(4, least=0, whole=True, optional=True),
    "top_k": Number(5, least=1, whole=True),
    "threshold": Number(0.5, least=0, most=1),
    "min_score": Number(0.3, least=0, most=1),
}


def run_prediction(config: DictConfig) -> None:
    """Predict what `conf/predict.yaml` composes, and say where it is written."""
    _check(config)
    hydra = HydraConfig.get()
    photographs = find_photographs(config.images)
    L.seed_everything(config.seed, workers=True, verbose=False)  # of weights that stay new
    predictor = open_predictor(config, hydra.overrides.task, hydra.runtime.choices["task"])
    path = predict(predictor, photographs)
    print(f"Written: {path}" + (f", pictures in {config.pictures}" if config.pictures else ""))


def predict(predictor: Predictor, photographs: Sequence[Photograph]) -> Path:
    """Predict photographs, write the predictions, and warn of those that cannot be read.

    Returns:
        The file or folder of the predictions.

    Raises:
        InputError: If there is more than one process, or no photograph can be read.
    """
    settings = predictor.settings
    kind, run = predictor.kind, Path(settings["paths"]["run"])
    path = Path(settings["predictions"] or run / kind.default)
    names = predictor.class_names
    chosen = {key: settings[key] for key in ("top_k", "threshold", "colored", "min_score")}
    loader = load_photographs(
        UnlabelledPhotos(photographs, evaluation_transform(predictor.preprocessing)),
        settings["batch_size"],
        cores() if settings["num_workers"] is None else settings["num_workers"],
    )
    trainer = _trainer(settings)
    with kind(path, Options(names, **chosen)) as predictions:
        job = _Prediction(predictor, photographs, predictions)
        trainer.predict(job, loader, return_predictions=False)
        if len(job.unread) == len(photographs):
            raise InputError(
                f"None of the {len(photographs)} photographs can be read, as {job.unread[0]}."
            )
    if job.unread:
        log.warning(
            f"{len(job.unread)} of {len(photographs)} photographs cannot be read and are left out: "
            f"{some(job.unread, _NAMED)}."
        )
    return path


def _trainer(settings: dict[str, Any]) -> L.Trainer:
    progress = settings.get("callbacks", {}).get("progress")
    callbacks = [StopAtSignal(), *([instantiate(progress)] if progress else [])]
    trainer: L.Trainer = instantiate(settings["trainer"], callbacks=callbacks, logger=False)
    if trainer.world_size > 1:
        raise InputError(
            f"Predictions are written by one process, and there are {trainer.world_size}: add "
            "trainer.devices=1."
        )
    return trainer


def _check(config: DictConfig) -> None:
    for key, number in _NUMBERS.items():
        if fault := number.fault(key, config[key]):
            raise InputError(fault)


class _Prediction(L.LightningModule):
    """Predicts batches of photographs and hands the results to the writer."""

    def __init__(
        self, predictor: Predictor, photographs: Sequence[Photograph], predictions: Predictions
    ) -> None:
        super().__init__()
        self.network = predictor.network
        self.unread: list[str] = []
        self._photographs = photographs
        self._predictions = predictions
        size = predictor.preprocessing
        self._normalization = Normalization(size.mean, size.std)
        folder = predictor.settings["pictures"]
        self._pictures = folder and Path(folder)
        self._picture_names = PictureNames()

    @override
    def predict_step(self, batch: PhotoBatch, batch_idx: int) -> int:
        self.unread += [f"{self._photographs[n].name} ({why})" for n, why in batch.unread]
        if batch.numbers:
            self._predict(batch)
        return len(batch.numbers)  # Lightning warns of None

    def _predict(self, batch: PhotoBatch) -> None:
        output: Output = self.network(batch.images)
        frame = (batch.images.shape[-2], batch.images.shape[-1])
        photographs = [self._photographs[number] for number in batch.numbers]
        self._predictions.write(
            [
                Predicted(photograph.name, size, frame)
                for photograph, size in zip(photographs, batch.sizes, strict=True)
            ],
            output,
        )
        if self._pictures:
            for number, photograph in enumerate(photographs):
                self._draw(photograph, batch.images[number : number + 1], output_of(output, number))

    def _draw(self, photograph: Photograph, pixels: Tensor, output: Output) -> None:
        drawn = Drawn(read_photograph(photograph.path), pixels, self._normalization)
        picture = self._predictions.draw(drawn, output)
        with atomic_file(self._pictures / self._picture_names.of(photograph.name)) as partial:
            picture.save(partial)
