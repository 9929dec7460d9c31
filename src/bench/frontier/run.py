"""Runs the comparison that `conf/frontier.yaml` asks for."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

import torch
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from rich.progress import track
from torch import nn

from ...checkpoints.checkpoint import Checkpoint
from ...config import Settings, instantiate, locate, plain_settings
from ...datamodules.base import ImageDataModule
from ...errors import InputError
from ...measure.complexity import copy_to_meta, count_on_meta
from ...modules import compile_for_inference
from ...modules.backbones.base import SparseBackbone
from ...modules.student import build_student
from ...ranges import Number
from ...reports.points import DENSE
from ...runs.class_names import match_classes
from ...runs.settings import check_config
from ..__main__ import PRECISIONS
from .evaluation import (
    Evaluated,
    agreement,
    compare_predictions,
    evaluate_cells,
    load_images,
    sentence_of,
)
from .outputs import Setting, write_all
from .plan import Cell, plan_cells
from .table import FrontierRow, failed_row, measured_row
from .timing import Timing, time_networks

log = logging.getLogger(__name__)

_NUMBERS = {
    "most": Number(1000, least=1, whole=True),
    "batch": Number(32, least=1, whole=True),
    "repeats": Number(7, least=1, whole=True),
    "seconds": Number(0.3, least=0),
}
_HOW = ("batch_size", "num_workers", "seed")  # settings of the data that change no image
_TIMED = 3  # different batches, used in turn
_RATIO = Number(0.7, above=0, most=1)


def run_frontier(config: DictConfig) -> None:
    """Evaluate what has not been evaluated yet, time everything, and write the results.

    Raises:
        InputError: If a setting, the data or the weights cannot be used.
    """
    _check(config)
    settings = plain_settings(config)
    device, dtype = _device(settings), PRECISIONS[config.precision]
    data: ImageDataModule = instantiate(settings["datamodule"])
    data.check("test")
    dense = _dense(settings, data).to(device, dtype)
    cells = [Cell(DENSE, None, {}, lambda: dense), *plan_cells(config, dense.backbone)]
    images = load_images(data, config.most, dtype)
    folder = Path(config.folder)
    common = _common(settings)
    found = evaluate_cells(cells, images, config.batch, (device, dtype), folder / "cells", common)
    batches = images.batches(config.batch, _TIMED, device)
    timings = time_networks(found.students, batches, config.repeats, config.seconds)
    compiled = _compiled_speedups(found.students, batches, config) if config.compiled else {}
    gmacs = {name: _gmacs(one, data.image_size) for name, one in found.students.items()}
    rows = [
        _row(cell, found, images.labels.tolist(), gmacs, timings, compiled.get(cell.name))
        for cell in cells
    ]
    setting = Setting(
        HydraConfig.get().runtime.choices["backbone"],
        images=len(images),
        batch=len(batches[0]),
        precision=config.precision,
        device=device,
        turns=config.repeats,
    )
    write_all(rows, folder, setting)


def _row(
    cell: Cell,
    found: Evaluated,
    labels: list[int],
    gmacs: Mapping[str, float],
    timings: Mapping[str, Timing],
    compiled: float | None,
) -> FrontierRow:
    """Return the row of a student, which says why if it could not be measured."""
    name = cell.name
    if name in found.failures:
        return failed_row(cell.method, cell.rho, found.failures[name])
    predictions = found.predictions[name], found.predictions[DENSE]
    return measured_row(
        cell.method,
        cell.rho,
        compare_predictions(*predictions, labels),
        agreement(*predictions),
        (gmacs[name], gmacs[DENSE]),
        (timings[name], timings[DENSE]),
        compiled,
    )


def _gmacs(student: SparseBackbone, size: int) -> float:
    return count_on_meta(copy_to_meta(student).float(), size)


def _common(settings: Settings) -> Settings:
    """Return what the predictions of all students depend on."""
    weights = settings["backbone"]["weights"]
    return {
        "backbone": settings["backbone"],
        "modified": Path(weights).expanduser().stat().st_mtime if weights else None,
        "data": {k: v for k, v in settings["datamodule"].items() if k not in _HOW},
        **{key: settings[key] for key in ("most", "precision")},
    }


def _check(config: DictConfig) -> None:
    for key, number in _NUMBERS.items():
        if not number.accepts(config[key]):
            raise InputError(f"{key}={config[key]} must be {number}.")
    for key in ("methods", "ratios", "checkpoints"):
        if not OmegaConf.is_list(config[key]) and not (key == "methods" and config[key] is None):
            raise InputError(f"{key}={config[key]} must be a list, as {key}=[{_EXAMPLES[key]}].")
    for ratio in config.ratios:
        if not _RATIO.accepts(ratio):
            raise InputError(f"ratios has {ratio}, which must be {_RATIO}.")
    if config.precision not in PRECISIONS:
        raise InputError(f"precision={config.precision} must be one of {', '.join(PRECISIONS)}.")
    if config.ckpt_path:
        raise InputError(
            f"ckpt_path={config.ckpt_path} is not a dense network: give its weights as "
            "backbone.weights, and trained students as checkpoints=[FILE]."
        )
    check_config(config)
    kind = locate(config.task)
    if getattr(kind, "judged_by", (None,))[0] != "acc1":
        raise InputError("The frontier compares by top-1 accuracy: choose task=classification.")


_EXAMPLES = {"methods": "tome,evit", "ratios": "0.9,0.7", "checkpoints": "last.ckpt"}


def _device(settings: Settings) -> torch.device:
    usable = torch.cuda.is_available() and settings["trainer"]["accelerator"] != "cpu"
    return torch.device("cuda" if usable else "cpu")


def _dense(settings: Settings, data: ImageDataModule) -> SparseBackbone:
    file = settings["backbone"]["weights"]
    checkpoint = Checkpoint.read(file) if file else None
    if checkpoint:
        match_classes(data, checkpoint)
    method = {"_target_": "src.modules.methods.dense.Dense"}
    plan = settings["schedule"]
    return build_student(
        settings["backbone"], method, plan, data.num_classes, checkpoint=checkpoint
    )


def _compiled_speedups(
    networks: Mapping[str, nn.Module], batches: list[torch.Tensor], config: DictConfig
) -> dict[str, float]:
    """Return each network's speed-up over the dense one, all of them compiled."""
    torch.compiler.reset()
    compiled: dict[str, nn.Module] = {}
    for name, network in track(networks.items(), description="Compiling", transient=True):
        made = compile_for_inference(network)
        try:
            made(batches[0])
            made(batches[0][:1])
        except Exception as error:
            log.warning(f"{name} does not compile: {sentence_of(error)}")
            if name == DENSE:
                return {}
        else:
            compiled[name] = made
    timings: dict[str, Timing] = time_networks(compiled, batches, config.repeats, config.seconds)
    return {name: one.many.over(timings[DENSE].many)[0] for name, one in timings.items()}
