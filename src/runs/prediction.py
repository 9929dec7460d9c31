"""Predicts photographs without labels, and writes what was predicted."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import lightning as L
import torch
from hydra.core.hydra_config import HydraConfig
from lightning.pytorch.plugins.environments import LightningEnvironment
from omegaconf import DictConfig
from torch import Tensor
from torch.utils.data import DataLoader
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
from ..predictions.base import Drawn, Options, PictureNames, Predicted, Predictions, Record
from ..predictions.parts import Parts, Unread
from ..predictions.single import output_of
from ..ranges import Number
from .predictors import Predictor, open_predictor

log = logging.getLogger(__name__)

_NAMED = 20  # photographs that the warning names
_DEPENDED_ON = (
    *("backbone", "method", "schedule", "rho", "task", "head", "seed", "ckpt_path"),
    *("top_k", "threshold", "colored"),
)
_NUMBERS = {
    "batch_size": Number(32, least=1, whole=True),
    "num_workers": Number(4, least=0, whole=True, optional=True),
    "top_k": Number(5, least=1, whole=True),
    "threshold": Number(0.5, least=0, most=1),
}


def run_prediction(config: DictConfig) -> None:
    """Predict what `conf/predict.yaml` composes, and say where it is written."""
    _check(config)
    hydra = HydraConfig.get()
    photographs = find_photographs(config.images)
    L.seed_everything(config.seed, workers=True, verbose=False)  # of weights that stay new
    predictor = open_predictor(config, hydra.overrides.task, hydra.runtime.choices["task"])
    if path := predict(predictor, photographs):
        print(f"Written: {path}")


def predict(predictor: Predictor, photographs: Sequence[Photograph]) -> Path | None:
    """Predict photographs, write the predictions, and warn of those that cannot be read.

    Returns:
        The file or folder of the predictions; None in a process of torchrun's that leaves it to
        another one to write them.

    Raises:
        InputError: If Lightning would start several processes, or no photograph can be read.
    """
    settings = predictor.settings
    kind, run = predictor.kind, Path(settings["paths"]["run"])
    path = Path(settings["predictions"] or run / kind.default)
    chosen = {key: settings[key] for key in ("top_k", "threshold", "colored")}
    predictions = kind(path, Options(predictor.class_names, **chosen))
    predictions.reserve([photograph.name for photograph in photographs])
    trainer = _trainer(settings)
    if process := launched():
        return _predict_share(predictor, photographs, predictions, trainer, process)
    with predictions:
        job = _Prediction(predictor, photographs, predictions)
        trainer.predict(
            job, _loader(predictor, photographs, range(len(photographs))), return_predictions=False
        )
        if len(job.unread) == len(photographs):
            raise InputError(
                f"None of the {len(photographs)} photographs can be read, as "
                f"{_unread(photographs, job.unread)[0]}."
            )
    _warn(photographs, job.unread)
    return path


def _predict_share(
    predictor: Predictor,
    photographs: Sequence[Photograph],
    predictions: Predictions,
    trainer: L.Trainer,
    process: Process,
) -> Path | None:
    """Predict this process's photographs that no part holds yet, and join all parts at the end.

    Returns:
        The file or folder of the predictions; None while photographs of other processes are missing
        or another process writes them.
    """
    rank, processes = process
    parts = Parts(predictions.path, _facts(predictor, photographs), rank, len(photographs))
    done = parts.done()
    numbers = [n for n in range(rank, len(photographs), processes) if n not in done]
    if done:
        log.info(f"{len(done)} of {len(photographs)} photographs are predicted already.")
    start = time.perf_counter()
    if numbers:
        job = _Prediction(predictor, photographs, predictions, parts)
        trainer.predict(job, _loader(predictor, photographs, numbers), return_predictions=False)
    seconds = time.perf_counter() - start
    rate = f", {len(numbers) / seconds:.1f} images/s" if numbers else ""
    print(f"Process {rank + 1} of {processes}: {len(numbers)} photographs{rate}", flush=True)
    unread = parts.join(predictions)
    if unread is None:
        return None
    _warn(photographs, unread)
    return predictions.path


class Process(NamedTuple):
    """Says which of a launch's processes this one is."""

    rank: int
    processes: int


def launched() -> Process | None:
    """Return the place of this process among those of torchrun; None where it did not start it."""
    rank, count = os.environ.get("RANK", ""), os.environ.get("WORLD_SIZE", "")
    if not (rank.isdecimal() and count.isdecimal()):
        return None
    return Process(int(rank), int(count))


def _facts(predictor: Predictor, photographs: Sequence[Photograph]) -> dict[str, object]:
    """Return what predictions depend on."""
    settings = predictor.settings
    facts: dict[str, object] = {key: settings.get(key) for key in _DEPENDED_ON}
    file = settings.get("ckpt_path") or settings.get("backbone", {}).get("weights")
    if file and Path(file).is_file():
        status = Path(file).stat()
        facts["file"] = (status.st_size, status.st_mtime_ns)
    return facts | {
        "classes": predictor.class_names,
        "photographs": [photograph.name for photograph in photographs],
    }


def _loader(
    predictor: Predictor, photographs: Sequence[Photograph], numbers: Sequence[int]
) -> DataLoader[PhotoBatch]:
    settings = predictor.settings
    images = UnlabelledPhotos(photographs, evaluation_transform(predictor.preprocessing))
    return load_photographs(
        images,
        settings["batch_size"],
        cores() if settings["num_workers"] is None else settings["num_workers"],
        numbers,
    )


def _unread(photographs: Sequence[Photograph], unread: Sequence[Unread]) -> list[str]:
    return [f"{photographs[number].name} ({reason})" for number, reason in unread]


def _warn(photographs: Sequence[Photograph], unread: Sequence[Unread]) -> None:
    if unread:
        log.warning(
            f"{len(unread)} of {len(photographs)} photographs cannot be read and are left out: "
            f"{some(_unread(photographs, unread), _NAMED)}."
        )


def _trainer(settings: dict[str, Any]) -> L.Trainer:
    progress = settings.get("callbacks", {}).get("progress")
    process = launched()
    shown = progress and (process is None or process.rank == 0)
    callbacks = [StopAtSignal(), *([instantiate(progress)] if shown else [])]
    options = dict(settings["trainer"])
    if process:  # each predicts by itself, without exchanging anything
        local, devices = int(os.environ.get("LOCAL_RANK", 0)), torch.cuda.device_count()
        on_gpus = devices and options.get("accelerator") in ("auto", "gpu", "cuda")
        options |= {
            "devices": [local % devices] if on_gpus else 1,
            "strategy": "auto",
            "plugins": [LightningEnvironment()],
        }
    trainer: L.Trainer = instantiate(options, callbacks=callbacks, logger=False)
    if trainer.world_size > 1:
        raise InputError(
            f"Predictions are written by one process, and there are {trainer.world_size}: add "
            "trainer.devices=1, or start them by torchrun --nproc-per-node N predict.py."
        )
    return trainer


def _check(config: DictConfig) -> None:
    for key, number in _NUMBERS.items():
        if fault := number.fault(key, config[key]):
            raise InputError(fault)


class _Prediction(L.LightningModule):
    """Predicts batches of photographs and hands the results to the writer."""

    def __init__(
        self,
        predictor: Predictor,
        photographs: Sequence[Photograph],
        predictions: Predictions,
        parts: Parts | None = None,
    ) -> None:
        super().__init__()
        self.network = predictor.network
        self.unread: list[Unread] = []
        self._parts = parts
        self._kept: list[Record] = []
        if parts:
            predictions.keep = self._kept.extend
        self._photographs = photographs
        self._predictions = predictions
        size = predictor.preprocessing
        self._normalization = Normalization(size.mean, size.std)
        folder = predictor.settings["pictures"]
        self._pictures = folder and Path(folder)
        names = PictureNames()
        self._picture_names = {
            photograph.path: names.of(photograph.name)
            for photograph in (photographs if folder else ())
        }

    @override
    def predict_step(self, batch: PhotoBatch, batch_idx: int) -> int:
        unread = [Unread(*one) for one in batch.unread]
        self.unread += unread
        if batch.numbers:
            self._predict(batch)
        if self._parts:
            self._parts.add(batch.numbers, self._kept, unread)
            self._kept.clear()
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
        with atomic_file(self._pictures / self._picture_names[photograph.path]) as partial:
            picture.save(partial)
