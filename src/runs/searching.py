"""Searches a schedule as `conf/search.yaml` asks, and writes it."""

from __future__ import annotations

from pathlib import Path

import torch
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig
from torch import Tensor, nn

from ..datamodules.loading import cores
from ..datamodules.spread import spread_evenly
from ..datamodules.unlabelled import find_photographs
from ..datamodules.unlabelled_batches import load_photographs
from ..errors import InputError
from ..modules.backbones.base import SparseBackbone
from ..modules.search.search import search_schedule
from ..predictions.base import Reading
from ..ranges import Number
from ..reports.rows import Row
from ..reports.tables import print_table
from .predictors import Predictor, open_predictor

_NUMBERS = {
    "most": Number(512, least=1, whole=True),
    "trials": Number(300, least=1, whole=True),
    "batch_size": Number(32, least=1, whole=True),
    "num_workers": Number(4, least=0, whole=True, optional=True),
}


def run_search(config: DictConfig) -> None:
    """Search, write the yaml, and print each better schedule on the way."""
    for key, number in _NUMBERS.items():
        if fault := number.fault(key, config[key]):
            raise InputError(fault)
    hydra = HydraConfig.get()
    predictor = open_predictor(config, hydra.overrides.task, hydra.runtime.choices["task"])
    student = _student(predictor.network, str(config.ckpt_path))
    images = _images(config, predictor)
    if torch.cuda.is_available() and predictor.settings["trainer"]["accelerator"] != "cpu":
        student, images = student.cuda(), images.cuda()
    found = search_schedule(
        student,
        images,
        budget=None if config.gmacs is not None else config.budget,
        gmacs=config.gmacs,
        trials=config.trials,
        batch_size=config.batch_size,
        seed=config.seed,
    )
    file = Path(config.file)
    found.save(file)
    rows: list[Row] = [
        {
            "schedule": step.name,
            "gmacs": round(step.gmacs, 4),
            "kl": round(step.divergence, 4),
            "agreement": round(100 * step.agreement, 1),
        }
        for step in (found.steps[0], found.steps[-1])
    ]
    print_table(rows, list(rows[0]))
    kind = predictor.kind.inputs.name
    print(
        f"{found.trials} schedules on {found.images} {kind} in {found.seconds:.0f} s; "
        f"keeps {', '.join(f'{ratio:.3g}' for ratio in found.schedule.ratios)} before blocks "
        f"{', '.join(map(str, found.schedule.locations))}"
    )
    print(f"Written: {file}")


def _student(network: nn.Module, path: str) -> SparseBackbone:
    student = network if isinstance(network, SparseBackbone) else getattr(network, "student", None)
    if not isinstance(student, SparseBackbone):
        raise InputError(f"ckpt_path={path} has its schedule built in: give a checkpoint.")
    return student.eval()


def _images(config: DictConfig, predictor: Predictor) -> Tensor:
    """Load at most `most` photographs, or the middle view of videos, spread evenly.

    What cannot be read is left out.
    """
    kind = predictor.kind
    photographs = find_photographs(config.images, kind.inputs)
    taken = [photographs[number] for number in spread_evenly(len(photographs), config.most)]
    workers = cores() if config.num_workers is None else config.num_workers
    how = Reading(predictor.preprocessing, predictor.sides, predictor.settings["datamodule"])
    loader = load_photographs(kind.reading(taken, how), config.batch_size, workers)
    batches = [kind.inputs_of(batch.images) for batch in loader if batch.numbers]
    if not batches:
        raise InputError(f"None of the {len(taken)} {kind.inputs.name} of images can be read.")
    return torch.cat(batches)
