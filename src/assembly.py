"""A training run's parts, checked together before the first step."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import lightning as L
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from .callbacks.run_record import RunRecord
from .callbacks.whole_files import WholeFiles
from .class_names import check_same_classes, warn_of_other_classes
from .errors import InputError, sentences_of
from .idle import idle_settings
from .modules.base import SparseModule
from .modules.build import instantiate
from .modules.checkpoints import check_resumable, newest_checkpoint
from .resumed import differing_settings
from .validation import check_monitor, check_target, config_faults

log = logging.getLogger(__name__)

_ANY_CLASSES = 1000  # of a student that is only tried, because its data cannot be read


class Run(NamedTuple):
    """What a training needs; `checkpoint` is where it goes on, None for a new one."""

    trainer: L.Trainer
    module: SparseModule
    data: Any
    checkpoint: Path | None


class _Faults:
    """Collects what is wrong with independent parts."""

    def __init__(self, config: dict[str, str]) -> None:
        self.groups = {key.partition(".")[0] for key in config}
        self.sentences = list(config.values())

    @contextmanager
    def of(self, *groups: str) -> Iterator[None]:
        """Note what the block says of these groups, unless they are known to be faulty."""
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
        settings: Any = OmegaConf.to_container(config, resolve=True)
    except OmegaConfBaseException:
        faults.report()  # a group that others refer to is empty
        raise
    data = module = checkpoint = None
    processes, classes = 1, (_ANY_CLASSES, None)
    with faults.of("seed"):
        L.seed_everything(settings["seed"], workers=True, verbose=False)
    with faults.of("trainer", "callbacks", "logger"):
        trainer = _trainer(settings, OmegaConf.to_container(config), choices)
        processes = trainer.world_size
    with faults.of("datamodule", "backbone"):
        data = instantiate(settings["datamodule"])
        data.check(processes=processes)
        classes = data.num_classes, data.present_classes
    with faults.of("task", "backbone", "method", "schedule", "rho", "loss", "optimizer"):
        module = instantiate(settings["task"], num_classes=classes[0], present_classes=classes[1])
        if data:
            check_target(module, data)
        check_monitor(settings["monitor"], module.validation_metrics())
        module.check_trainable()
    if module:
        with faults.of("ckpt_path", "trainer"):
            checkpoint = _checkpoint(settings, module, data, OmegaConf.to_container(config))
    faults.report()
    if data and settings["backbone"]["weights"] and not checkpoint:
        warn_of_other_classes(data, settings["backbone"]["weights"])
    for warning in idle_settings(config, module, typed):
        log.warning(warning)
    for logger in trainer.loggers:
        logger.log_hyperparams(settings | {"choices": choices})
    return Run(trainer, module, data, checkpoint)


def _trainer(settings: dict[str, Any], record: Any, choices: dict[str, str]) -> L.Trainer:
    callbacks = [instantiate(part) for part in settings.get("callbacks", {}).values() if part]
    loggers = [instantiate(part) for part in settings.get("logger", {}).values() if part]
    trainer: L.Trainer = instantiate(
        settings["trainer"],
        callbacks=[*callbacks, RunRecord(record, choices)],
        logger=loggers,
        plugins=[*map(instantiate, settings["trainer"].get("plugins") or []), WholeFiles()],
    )
    return trainer


def _checkpoint(
    settings: dict[str, Any], module: SparseModule, data: Any, record: Any
) -> Path | None:
    path = settings["ckpt_path"]
    if path == "last":
        path = newest_checkpoint(Path(settings["paths"]["run"]) / "checkpoints")
        log.info(f"Resuming from {path}." if path else "No checkpoint yet: training starts afresh.")
    if path:
        check_resumable(module.student, path, settings["trainer"]["max_epochs"])
        if data:
            check_same_classes(data, path)
        if differing := differing_settings(path, record):
            log.warning(f"{path} goes on with other settings: {'; '.join(differing)}.")
    return path and Path(path)
