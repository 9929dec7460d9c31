"""Trains one student, alone or as a cell of a sweep."""

from __future__ import annotations

import signal
import sys
from contextlib import nullcontext
from pathlib import Path

import lightning as L
import torch
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from lightning.pytorch.plugins.environments import ClusterEnvironment
from lightning.pytorch.utilities import rank_zero_only
from lightning.pytorch.utilities.exceptions import SIGTERMException
from omegaconf import DictConfig

from ..config import plain_settings
from ..errors import InputError
from ..modules.sharding import Sharded
from ..reports.rows import Row
from ..shell.stopping import Stopped, asked, how_to_resume, raise_if_asked
from .assembly import Run, assemble
from .cell import run_cell
from .evaluation import trained_row
from .lock import only_training_in
from .resuming import check_unused


def train(config: DictConfig) -> float | None:
    """Train what `conf/train.yaml` composes; return the monitored metric for a sweeper."""
    metric = run_cell(config, _row).get("metric")
    return metric if isinstance(metric, float) else None


def _row(config: DictConfig) -> Row:
    """Train one student; in a sweep also measure it, for the report."""
    trainer, module, data, _ = fit(config)
    sweeping = HydraConfig.get().mode is RunMode.MULTIRUN
    if sweeping and config.monitor not in trainer.callback_metrics:
        trainer.validate(module, data, verbose=False)  # it had finished its epochs before
    metric = trainer.callback_metrics.get(config.monitor)
    result: Row = {"metric": None if metric is None else float(metric)}
    if sweeping and trainer.is_global_zero:
        choices = HydraConfig.get().runtime.choices
        trained = trained_row(plain_settings(config), trainer, module, data)
        result = {
            **result,
            "backbone": choices["backbone"],
            "method": choices["method"],
            **trained,
        }
    return result


def fit(config: DictConfig) -> Run:
    """Check, build and fit, with a lock on the run's folder."""
    folder = Path(config.paths.run)
    first = getattr(rank_zero_only, "rank", 0) == 0
    with only_training_in(folder) if first else nullcontext():
        return _fit(config)


def _fit(config: DictConfig) -> Run:
    hydra_config = HydraConfig.get()
    choices, typed = dict(hydra_config.runtime.choices), list(hydra_config.overrides.task)
    torch.set_float32_matmul_precision("high")
    sweeping = hydra_config.mode is RunMode.MULTIRUN
    if not (sweeping or config.ckpt_path):
        check_unused(Path(config.paths.run) / "checkpoints")
    run = assemble(config, choices, typed)
    trainer = run.trainer
    if sweeping and isinstance(trainer.strategy, Sharded):
        raise InputError("A sweep measures its students in one process: choose trainer=ddp.")
    if sweeping and trainer.world_size > 1 and not _started_from_outside(trainer):
        raise InputError(
            f"A sweep cannot start {trainer.world_size} processes for each of its jobs: add "
            "trainer.devices=1, or start it by torchrun --nproc-per-node="
            f"{trainer.world_size} train.py -m ..."
        )
    if run.checkpoint:
        run.module.student.method_is_new = False
    try:
        trainer.fit(run.module, run.data, ckpt_path=run.checkpoint, weights_only=True)
        raise_if_asked()  # too late to stop anything
    except (SIGTERMException, Stopped):
        if not trainer.is_global_zero:
            sys.exit()  # the first process speaks for all
        stop = asked() or Stopped(signal.SIGTERM)
        if sweeping:
            raise stop from None
        again = f"the same command with {how_to_resume(config.paths.run)}"
        print(f"{stop.sentence} Go on: {again}", file=sys.stderr)
        sys.exit(stop.code)
    finally:
        if "wandb" in (config.get("logger") or {}):
            import wandb

            wandb.finish()  # else the next job of a multirun would continue this run
    return run


def _started_from_outside(trainer: L.Trainer) -> bool:
    """Return whether torchrun, SLURM or the like started all processes, not Lightning."""
    environment = getattr(trainer.strategy, "cluster_environment", None)
    return isinstance(environment, ClusterEnvironment) and environment.creates_processes_externally
