"""Builds the parts of a training and checks them together before the first step."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import lightning as L
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ..callbacks.moved_run import MovedRun
from ..callbacks.resumed_epoch import ResumedEpoch
from ..callbacks.run_record import RunRecord
from ..callbacks.undefined_outputs import UndefinedOutputs
from ..checkpoints.atomic_io import AtomicCheckpointIO
from ..checkpoints.checkpoint import Checkpoint, newest_checkpoint, taken
from ..config import Settings, instantiate, plain_settings
from ..datamodules.base import ImageDataModule
from ..errors import InputError
from ..modules.base import SparseModule
from ..modules.sharding import Sharded
from ..shell.program import sentences_of
from .class_names import check_same_classes, warn_of_other_classes
from .resuming import check_optimizer, check_resumable, differing_settings, other_processes
from .settings import check_image_size, check_monitor, check_target, config_faults
from .unused_settings import unused_settings

log = logging.getLogger(__name__)

_ANY_CLASSES = 1000  # of a student that is only tried, because its data cannot be read


class Run(NamedTuple):
    """Holds what a training needs; `checkpoint` is what it resumes from, None for a new one."""

    trainer: L.Trainer
    module: SparseModule
    data: ImageDataModule
    checkpoint: Path | None


class _Faults:
    """Collects what is wrong with independent parts."""

    def __init__(self, config: dict[str, str]) -> None:
        self.groups = {key.partition(".")[0] for key in config}
        self.sentences = list(config.values())

    @contextmanager
    def of(self, *groups: str) -> Iterator[None]:
        """Collect the errors of a block about these groups, unless their settings are faulty."""
        known = self.groups.intersection(groups)
        try:
            yield
        except Exception as error:
            sentences = sentences_of(error)
            if not sentences and not known:
                raise
            self.sentences += [] if known else sentences

    def report(self) -> None:
        """Raise an `InputError` if there are any."""
        if self.sentences:
            raise InputError(*self.sentences)


def assemble(config: DictConfig, choices: dict[str, str], typed: list[str]) -> Run:
    """Check settings, devices, data, student and checkpoint, and build what is to be trained.

    Args:
        config: As `conf/train.yaml` composes it.
        choices: The option chosen in each group.
        typed: The command line's overrides; one that has no effect is warned of.

    Raises:
        InputError: All that is wrong, one sentence for each.
    """
    faults = _Faults(config_faults(config))
    try:
        settings = plain_settings(config)
    except OmegaConfBaseException:
        faults.report()  # a group that others refer to is empty
        raise
    data = module = checkpoint = weights = None
    processes, classes = 1, (_ANY_CLASSES, None)
    with faults.of("seed"):
        L.seed_everything(settings["seed"], workers=True, verbose=False)
    with faults.of("trainer", "callbacks", "logger"):
        trainer = _trainer(settings, plain_settings(config, resolve=False), choices)
        processes = trainer.world_size
    with faults.of("datamodule", "backbone", "seed"):
        data = instantiate(settings["datamodule"])
        data.check(processes=processes)
        classes = data.num_classes, data.present_classes
    if faults.sentences:  # then the student is only checked, for which nothing is downloaded
        OmegaConf.update(config, "backbone.pretrained", False)
        settings = plain_settings(config)
    with faults.of("task", "backbone", "method", "schedule", "rho", "loss", "optimizer"):
        weights = _weights(settings)
        module = instantiate(
            settings["task"],
            num_classes=classes[0],
            present_classes=classes[1],
            checkpoint=weights,
        )
        if data:
            check_target(module, data)
            check_image_size(module, data)
        check_monitor(settings["monitor"], module.validation_metrics())
        module.check_trainable()
    if module:
        with faults.of("ckpt_path", "trainer"):
            record = plain_settings(config, resolve=False)
            checkpoint = _checkpoint(settings, module, data, record, processes)
    faults.report()
    if data and weights and not checkpoint and module.outputs_are_classes:
        warn_of_other_classes(data, weights)
    for warning in unused_settings(config, module, typed):
        log.warning(warning)
    _warn_if_never_validated(trainer)
    for logger in trainer.loggers:
        logger.log_hyperparams(settings | {"choices": choices})
    return Run(trainer, module, data, checkpoint)


def _trainer(settings: Settings, record: Settings, choices: dict[str, str]) -> L.Trainer:
    callbacks = [instantiate(part) for part in settings.get("callbacks", {}).values() if part]
    loggers = [instantiate(part) for part in settings.get("logger", {}).values() if part]
    resumed = [MovedRun(), ResumedEpoch()]
    trainer: L.Trainer = instantiate(
        settings["trainer"],
        callbacks=[*callbacks, UndefinedOutputs(), RunRecord(record, choices), *resumed],
        logger=loggers,
        plugins=[*map(instantiate, settings["trainer"].get("plugins") or []), AtomicCheckpointIO()],
    )
    if isinstance(trainer.strategy, Sharded) and trainer.world_size == 1:
        raise InputError(
            "trainer=fsdp shards weights among processes, and there is one: give "
            "trainer.devices=2 or more, or choose trainer=gpu."
        )
    return trainer


def _warn_if_never_validated(trainer: L.Trainer) -> None:
    every, epochs = trainer.check_val_every_n_epoch or 0, trainer.max_epochs or -1
    if 0 < epochs < every:
        log.warning(
            f"trainer.check_val_every_n_epoch={every} is more than trainer.max_epochs={epochs}: "
            "nothing is validated, so that there is no best.ckpt; last.ckpt is saved after each "
            "epoch."
        )


def _weights(settings: Settings) -> Checkpoint | None:
    file = settings["backbone"].get("weights")
    return Checkpoint.read(file) if file else None


def _checkpoint(
    settings: Settings,
    module: SparseModule,
    data: ImageDataModule | None,
    record: Settings,
    processes: int,
) -> Path | None:
    """Find and check the checkpoint that the training goes on from."""
    path = settings["ckpt_path"]
    if path == "last":
        checkpoint = newest_checkpoint(Path(settings["paths"]["run"]) / "checkpoints")
        found = f"Resuming from {checkpoint.path}." if checkpoint else None
        log.info(found or "No checkpoint yet: training starts afresh.")
    else:
        checkpoint = taken(path) if path else None
    if checkpoint is None:
        return None
    check_resumable(module.student, checkpoint, settings["trainer"]["max_epochs"])
    check_optimizer(checkpoint, record)
    if data and module.outputs_are_classes:
        check_same_classes(data, checkpoint)
    if differing := differing_settings(checkpoint, record):
        log.warning(f"{checkpoint.path} goes on with other settings: {'; '.join(differing)}.")
    if others := other_processes(checkpoint, processes):
        log.warning(others)
    checkpoint.hand_over()  # to Lightning, which reads it otherwise
    return checkpoint.path
