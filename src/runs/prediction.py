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
    UnlabelledFiles,
    find_photographs,
    load_photographs,
)
from ..errors import InputError, some
from ..files import atomic_file
from ..modules.heads.base import Output
from ..predictions.base import (
    Drawn,
    Options,
    PictureNames,
    Predicted,
    Predictions,
    Reading,
    Record,
)
from ..predictions.parts import Parts, Unread
from ..predictions.single import output_of
from ..ranges import Number
from .predictors import Predictor, open_predictor

log = logging.getLogger(__name__)

_NAMED = 20  # photographs that the warning names
_DEPENDED_ON = (
    *("backbone", "method", "schedule", "rho", "task", "head", "seed", "ckpt_path"),
    *("top_k", "threshold", "colored", "min_score"),
)
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
    L.seed_everything(config.seed, workers=True, verbose=False)  # of weights that stay new
    predictor = open_predictor(config, hydra.overrides.task, hydra.runtime.choices["task"])
    photographs = find_photographs(config.images, predictor.kind.inputs)
    if path := predict(predictor, photographs):
        print(f"Written: {path}" + (f", pictures in {config.pictures}" if config.pictures else ""))


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
    chosen = {key: settings[key] for key in ("top_k", "threshold", "colored", "min_score")}
    predictions = kind(path, Options(predictor.class_names, **chosen))
    predictions.reserve([photograph.name for photograph in photographs])
    how = Reading(predictor.preprocessing, predictor.sides, settings["datamodule"])
    job = _Prediction(predictor, photographs, kind.reading(photographs, how), predictions)
    trainer = _trainer(settings)
    if process := launched():
        return _predict_share(job, trainer, process)
    with predictions:
        trainer.predict(job, job.loader(range(len(photographs))), return_predictions=False)
        if len(job.unread) == len(photographs):
            raise InputError(
                f"None of the {len(photographs)} {kind.inputs.name} can be read, as "
                f"{job.named(job.unread)[0]}."
            )
    job.warn(job.unread)
    return path


def _predict_share(job: _Prediction, trainer: L.Trainer, process: Process) -> Path | None:
    """Predict this process's photographs that no part holds yet, and join all parts at the end.

    Returns:
        The file or folder of the predictions; None while photographs of other processes are missing
        or another process writes them.
    """
    rank, processes = process
    count, predictions = len(job.photographs), job.predictions
    parts = Parts(predictions.path, _facts(job.predictor, job.photographs), rank, count)
    done = parts.done()
    numbers = [n for n in range(rank, count, processes) if n not in done]
    if done:
        log.info(f"{len(done)} of {count} {predictions.inputs.name} are predicted already.")
    start = time.perf_counter()
    if numbers:
        job.collect_in(parts)
        trainer.predict(job, job.loader(numbers), return_predictions=False)
    seconds = time.perf_counter() - start
    rate = f", {len(numbers) / seconds:.1f} images/s" if numbers else ""
    print(
        f"Process {rank + 1} of {processes}: {len(numbers)} {predictions.inputs.name}{rate}\n",
        end="",  # else lines of several processes may run into each other
        flush=True,
    )
    unread = parts.join(predictions)
    if unread is None:
        return None
    job.warn(unread)
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
    """Predicts batches of photographs, or other files, and hands the results to the writer."""

    def __init__(
        self,
        predictor: Predictor,
        photographs: Sequence[Photograph],
        files: UnlabelledFiles,
        predictions: Predictions,
    ) -> None:
        super().__init__()
        self.network = predictor.network
        self.predictor = predictor
        self.photographs = photographs
        self.predictions = predictions
        self.unread: list[Unread] = []
        self._files = files
        self._parts: Parts | None = None
        self._kept: list[Record] = []
        size = predictor.preprocessing
        self._normalization = Normalization(size.mean, size.std)
        folder = predictor.settings["pictures"]
        self._pictures = folder and Path(folder)
        names = PictureNames()
        self._picture_names = {
            photograph.path: names.of(photograph.name)
            for photograph in (photographs if folder else ())
        }

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
        """Warn of files that cannot be read, if there are any."""
        if unread:
            log.warning(
                f"{len(unread)} of {len(self.photographs)} {self.predictions.inputs.name} cannot "
                f"be read and are left out: {some(self.named(unread), _NAMED)}."
            )

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
        output: Output = self.predictions.run(self.network, batch.images)
        frame = (batch.images.shape[-2], batch.images.shape[-1])
        photographs = [self.photographs[number] for number in batch.numbers]
        self.predictions.write(
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
        drawn = Drawn(self._files.original(photograph.path), pixels, self._normalization)
        picture = self.predictions.draw(drawn, output)
        with atomic_file(self._pictures / self._picture_names[photograph.path]) as partial:
            picture.save(partial)
