"""Predicts photographs without labels, and writes what was predicted."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import lightning as L
import torch
from hydra.core.hydra_config import HydraConfig
from lightning.pytorch.plugins.environments import LightningEnvironment
from omegaconf import DictConfig

from ..callbacks.stop_at_signal import StopAtSignal
from ..config import Settings, instantiate
from ..datamodules.unlabelled import Photograph, find_photographs
from ..errors import InputError
from ..predictions.base import Options, Reading
from ..predictions.parts import Parts
from ..ranges import Number
from .prediction_job import PredictionJob
from .predictors import Predictor, open_predictor

log = logging.getLogger(__name__)

_DEPENDED_ON = (
    *("backbone", "method", "schedule", "rho", "task", "head", "seed", "ckpt_path"),
    *("top_k", "threshold", "colored", "min_score"),
)
# Of the data's settings, what changes no prediction.
_OF_LOADING = ("root", "batch_size", "num_workers", "pin_memory", "persistent_workers", "seed")
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
    predictions = kind(path, Options(class_names=predictor.class_names, **chosen))
    predictions.reserve([photograph.name for photograph in photographs])
    how = Reading(predictor.preprocessing, predictor.sides, settings["datamodule"])
    job = PredictionJob(predictor, photographs, kind.reading(photographs, how), predictions)
    _keep_photographs(photographs, job.files())
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


def _predict_share(job: PredictionJob, trainer: L.Trainer, process: Process) -> Path | None:
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
    if file and Path(file).expanduser().is_file():
        status = Path(file).expanduser().stat()
        facts["file"] = (status.st_size, status.st_mtime_ns)
    data = settings["datamodule"]
    return facts | {
        "classes": predictor.class_names,
        "input": (predictor.preprocessing, predictor.sides),
        "data": {key: value for key, value in data.items() if key not in _OF_LOADING},
        "precision": settings["trainer"].get("precision"),
        "photographs": [os.path.abspath(photograph.path) for photograph in photographs],
    }


def _keep_photographs(photographs: Sequence[Photograph], files: Sequence[Path]) -> None:
    """Check that nothing is written over a photograph.

    Raises:
        InputError: If a file that is going to be written is a photograph that is predicted.
    """
    there = {_identity(file): file for file in files if file.exists()}
    for photograph in photographs if there else ():
        if photograph.path.exists() and (file := there.get(_identity(photograph.path))):
            raise InputError(
                f"{file} would be written over the photograph {photograph.path}: name another "
                "place for predictions or pictures."
            )


def _identity(file: Path) -> tuple[int, int]:
    status = file.stat()
    return status.st_dev, status.st_ino


def _trainer(settings: Settings) -> L.Trainer:
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
