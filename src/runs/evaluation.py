"""Measures accuracy, cost and speed of a student as one row."""

from __future__ import annotations

import lightning as L
from hydra.core.hydra_config import HydraConfig
from lightning.pytorch.utilities import rank_zero_only
from omegaconf import DictConfig

from ..callbacks.output import EvaluationOutput
from ..callbacks.stop_at_signal import StopAtSignal
from ..callbacks.undefined_outputs import UndefinedOutputs
from ..checkpoints.checkpoint import Checkpoint, taken
from ..config import Settings, instantiate, locate, plain_settings
from ..datamodules.base import ImageDataModule
from ..modules.backbones.base import SparseBackbone
from ..modules.base import SparseModule
from ..pictures.masks import masked_images
from ..pictures.samples import inspect, numbered_images, spread_images
from ..pictures.survivors import survivor_maps
from ..reports.rows import Row, data_entry, metric_of, task_entry
from ..reports.tables import print_table
from .cell import run_cell
from .class_names import match_classes
from .cost import LOGGED, cost_of
from .other_images import warn_of_other_preprocessing
from .record import with_recorded_run
from .settings import check_config, check_image_size, check_target

_MAPPED = 6  # images in a report's gallery


def run_evaluation(config: DictConfig) -> float | None:
    """Evaluate what `conf/eval.yaml` composes; return the task's metric in percent."""
    result = run_cell(config, _row, only_row=not _writes(config))
    metric = metric_of(result)
    value = result.get(metric) if metric else None
    return value if isinstance(value, float) else None


def _writes(config: DictConfig) -> bool:
    """Return whether an evaluation writes more than its row: files, or a W&B run."""
    parts = [part for part in config.callbacks.values() if part and _acts_at_test(locate(part))]
    others = [part for part in parts if not part._target_.startswith(("src.", "lightning."))]
    return bool(others) or any(part.get("path") for part in parts) or "wandb" in config.logger


def _row(config: DictConfig) -> Row:
    """Evaluate one student; return the content of `result.json`."""
    hydra = HydraConfig.get()
    checkpoint = taken(config.ckpt_path) if config.ckpt_path else None
    config = with_recorded_run(config, hydra.overrides.task, checkpoint)
    check_config(config)
    settings = plain_settings(config)
    L.seed_everything(settings["seed"], workers=True, verbose=False)
    choices = {name: hydra.runtime.choices[name] for name in ("backbone", "method")}
    result = evaluate(settings, choices, checkpoint)
    shown = [name for name in result if name not in ("maps", "task", "data")]
    rank_zero_only(print_table)([result], shown)
    return result


def evaluate(
    settings: Settings, choices: dict[str, str], checkpoint: Checkpoint | None = None
) -> Row:
    """Test a student on the validation images; log to W&B if `settings` ask for it.

    Args:
        settings: `conf/eval.yaml`, resolved.
        choices: Names of `backbone` and `method`.
        checkpoint: The file `backbone.weights`, if it has been read already.

    Returns:
        `choices`; the task's metrics in percent, as `acc1`, `miou` or `box_ap`; `cost_and_speed`;
        and where there is a head on the maps `whole_cost` and `whole_speed`.
    """
    datamodule: ImageDataModule = instantiate(settings["datamodule"])
    datamodule.check("test")
    if checkpoint is None and settings["backbone"]["weights"]:
        checkpoint = Checkpoint.read(settings["backbone"]["weights"])
    if checkpoint and locate(settings["task"]).outputs_are_classes:
        match_classes(datamodule, checkpoint)
    if checkpoint:
        warn_of_other_preprocessing(datamodule, checkpoint)
    module: SparseModule = instantiate(
        settings["task"],
        num_classes=datamodule.num_classes,
        present_classes=datamodule.present_classes,
        checkpoint=checkpoint,
    )
    check_target(module, datamodule)
    check_image_size(module, datamodule)
    callbacks = _callbacks(settings)
    shown = numbered_images(datamodule, settings["images"])
    trainer = instantiate(settings["trainer"], callbacks=callbacks, logger=False)
    for callback in callbacks:
        if isinstance(callback, EvaluationOutput):
            callback.prepare(trainer, module, datamodule)
    accuracy = test_accuracy(trainer, module, datamodule)
    device = trainer.strategy.root_device
    student, shown = module.to(device).student.eval(), shown.to(device)  # with its head, if any
    row = {
        **choices,
        "rho": settings["rho"],
        "seed": settings["seed"],
        **accuracy,
        "task": task_entry(module.judged_by.name, module.judged_by.label, list(accuracy)),
        "data": data_entry(settings["datamodule"]),
        **cost_of(module, datamodule.image_size, settings["throughput_batch"]),
        "maps": maps_of(student, datamodule),
    }
    if "wandb" in settings.get("logger", {}) and trainer.is_global_zero:
        from ..reports.wandb import log_row

        masked = masked_images(shown, inspect(student, shown), datamodule.normalization)
        logged = {f"val/{name}": value for name, value in accuracy.items()}
        logged |= {name: row[key] for key, name in LOGGED.items() if key in row}
        log_row(row, logged, masked, settings)
    return row


def _callbacks(settings: Settings) -> list[L.Callback]:
    """Build the callbacks that act at test, without outputs whose `path` is null."""
    parts = [part for part in settings.get("callbacks", {}).values() if part]
    parts = [part for part in parts if part.get("path", "") is not None]
    made = [instantiate(part) for part in parts if _acts_at_test(locate(part))]
    signals = [] if any(isinstance(one, StopAtSignal) for one in made) else [StopAtSignal()]
    return [*made, UndefinedOutputs(), *signals]


def _acts_at_test(kind: object) -> bool:
    hooks = [name for name in dir(L.Callback) if name.startswith("on_test")]
    return any(getattr(kind, name, None) is not getattr(L.Callback, name) for name in hooks)


def trained_row(
    settings: Settings, trainer: L.Trainer, module: SparseModule, data: ImageDataModule
) -> Row:
    """Return the row of `evaluate` for a student that has just been trained and validated."""
    student = module.to(trainer.strategy.root_device).student.eval()
    validated = {
        name.removeprefix("val/"): round(float(value), 2)
        for name, value in trainer.callback_metrics.items()
        if name in module.validation_metrics()
    }
    return {
        "rho": settings["rho"],
        "seed": settings["seed"],
        **validated,
        "task": task_entry(module.judged_by.name, module.judged_by.label, list(validated)),
        "data": data_entry(settings["datamodule"]),
        **cost_of(module, data.image_size, settings["throughput_batch"]),
        "maps": maps_of(student, data),
    }


def maps_of(student: SparseBackbone, data: ImageDataModule) -> Row:
    """Return what a student keeps of a few validation images, for a sweep's report."""
    images = spread_images(data.val_dataset(), _MAPPED)
    images = images.to(next(student.parameters()).device)
    return survivor_maps(student, images, data.normalization)


def test_accuracy(
    trainer: L.Trainer, module: L.LightningModule, data: L.LightningDataModule
) -> dict[str, float]:
    """Test a module; return its metrics in percent by their logged names without the split."""
    (metrics,) = trainer.test(module, data, verbose=False)
    return {name.removeprefix("test/"): round(value, 2) for name, value in metrics.items()}
