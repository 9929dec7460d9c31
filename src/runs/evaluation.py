"""Accuracy, cost and speed of a student in one row."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning as L
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from PIL import Image
from torch import Tensor

from ..callbacks.disagreement import Disagreement
from ..callbacks.position_map import ClassMap, PositionMap
from ..callbacks.predictions import PredictionWriter
from ..callbacks.stop_at_signal import StopAtSignal
from ..checkpoints.checkpoint import Checkpoint, taken
from ..config import instantiate
from ..errors import InputError
from ..files import atomic_file
from ..modules.backbones.base import SparseBackbone
from ..modules.student import attach
from ..pictures import draw_token_maps
from ..pictures.masks import masked_images
from ..pictures.samples import images_at, inspect, spread_images
from ..pictures.survivors import survivor_maps
from ..reports.rows import metric_of, task_entry
from ..reports.tables import print_table
from .cell import run_cell
from .class_names import match_classes
from .cost import LOGGED, cost_of
from .record import with_recorded_run
from .settings import check_config, check_target

_MAPPED = 6  # images in a report's gallery
_OF_LABELS = ("position_map", "class_map", "predictions", "disagreement")


def run_evaluation(config: DictConfig) -> float | None:
    """Evaluate what `conf/eval.yaml` composes; return the task's metric in percent."""
    result = run_cell(config, _row)
    metric = metric_of(result)
    return result[metric] if metric else None


def _row(config: DictConfig) -> dict[str, Any]:
    """Evaluate one student; what `result.json` will say."""
    hydra = HydraConfig.get()
    checkpoint = taken(config.ckpt_path) if config.ckpt_path else None
    config = with_recorded_run(config, hydra.overrides.task, checkpoint)
    check_config(config)
    settings: Any = OmegaConf.to_container(config, resolve=True)
    L.seed_everything(settings["seed"], workers=True, verbose=False)
    choices = {name: hydra.runtime.choices[name] for name in ("backbone", "method")}
    result = evaluate(settings, choices, checkpoint)
    print_table([result], [name for name in result if name not in ("maps", "task")])
    return result


def evaluate(
    settings: dict[str, Any], choices: dict[str, str], checkpoint: Checkpoint | None = None
) -> dict[str, Any]:
    """Test a student on the validation images; log to W&B if `settings` ask for it.

    Args:
        settings: `conf/eval.yaml`, resolved.
        choices: Names of `backbone` and `method`.
        checkpoint: The file `backbone.weights`, if it has been read already.

    Returns:
        `choices`; the task's metrics in percent, as `acc1`, `miou` or `box_ap`; `cost_and_speed`;
        and where there is a head on the maps `whole_cost` and `whole_speed`.
    """
    datamodule = instantiate(settings["datamodule"])
    datamodule.check("test")
    if checkpoint is None and settings["backbone"]["weights"]:
        checkpoint = Checkpoint.read(settings["backbone"]["weights"])
    if checkpoint:
        match_classes(datamodule, checkpoint)
    module = instantiate(
        settings["task"],
        num_classes=datamodule.num_classes,
        present_classes=datamodule.present_classes,
        checkpoint=checkpoint,
    )
    check_target(module, datamodule)
    _check_outputs(settings, module)
    wanted = settings.get("callbacks", {})
    shown_ones = [wanted[name] for name in ("progress", "dense_pictures") if wanted.get(name)]
    callbacks = [instantiate(callback) for callback in shown_ones]
    callbacks.append(StopAtSignal())
    shown = numbered_images(datamodule, settings["images"])
    callbacks += _chosen_outputs(settings, module.student, datamodule)
    trainer = instantiate(settings["trainer"], callbacks=callbacks, logger=False)
    written = next((name for name in _OF_LABELS if settings[name]), None)
    if written and trainer.world_size > 1:
        raise InputError(
            f"{written}={settings[written]} is written by one process, and this evaluation has "
            f"{trainer.world_size}: add trainer.devices=1."
        )
    accuracy = test_accuracy(trainer, module, datamodule)
    device = trainer.strategy.root_device
    student, shown = module.student.to(device).eval(), shown.to(device)
    if settings["token_maps"]:
        path = Path(settings["token_maps"])
        with atomic_file(path) as partial:
            show_tokens(student, shown, datamodule).save(partial)
    row = {
        **choices,
        "rho": settings["rho"],
        "seed": settings["seed"],
        **accuracy,
        "task": task_entry(module.judged_by.name, module.judged_by.label, list(accuracy)),
        **cost_of(module, datamodule.image_size, settings["throughput_batch"]),
        "maps": maps_of(student, datamodule),
    }
    if "wandb" in settings.get("logger", {}):
        from ..reports.wandb import log_row

        masked = masked_images(shown, inspect(student, shown), datamodule.normalization)
        logged = {f"val/{name}": value for name, value in accuracy.items()}
        logged |= {name: row[key] for key, name in LOGGED.items() if key in row}
        log_row(row, logged, masked, settings)
    return row


def _check_outputs(settings: dict[str, Any], module: Any) -> None:
    asked = next((name for name in _OF_LABELS if settings[name]), None)
    if asked and module.target != "label":
        wanted = module.target_words.get(module.target, module.target)
        raise InputError(
            f"{asked}={settings[asked]} is for images with one label each, but this task learns "
            f"from {wanted}: leave it out."
        )


def _chosen_outputs(
    settings: dict[str, Any], student: SparseBackbone, data: Any
) -> list[L.Callback]:
    """The callbacks that write what `conf/eval.yaml` was asked for."""
    chosen: list[L.Callback] = []
    if settings["position_map"]:
        chosen.append(PositionMap(settings["position_map"]))
    if settings["class_map"]:
        chosen.append(ClassMap(settings["class_map"], data.class_name))
    if settings["predictions"]:
        chosen.append(PredictionWriter(settings["predictions"], data.val_filenames()))
    if settings["disagreement"]:
        if not settings.get("against"):
            raise InputError(
                f"disagreement={settings['disagreement']} compares two methods, and only one is "
                "named: add the other, as method@against=evit."
            )
        other = attach(student.backbone, settings["against"], settings["schedule"])
        path, names = settings["disagreement"], data.val_filenames()
        chosen.append(Disagreement(path, other, names))
    return chosen


def numbered_images(data: Any, numbers: Sequence[int] | None) -> Tensor:
    """Validation images `(B, 3, S, S)` by their numbers; eight at equal distances for None.

    Raises:
        InputError: If there is no such image.
    """
    dataset = data.val_dataset()
    if numbers is None:
        return spread_images(dataset, 8)
    whole = isinstance(numbers, Sequence) and all(isinstance(n, int) for n in numbers)
    if not whole or not numbers or not all(0 <= n < len(dataset) for n in numbers):
        raise InputError(
            f"images={numbers} must be a list of numbers from 0 to {len(dataset) - 1}, as [0,5]."
        )
    return images_at(dataset, numbers)


def show_tokens(student: SparseBackbone, images: Tensor, data: Any) -> Image.Image:
    """What each location leaves of `images (B, 3, S, S)`, normalized by `data`'s statistics."""
    return draw_token_maps(images, inspect(student, images), data.normalization)


def trained_row(settings: dict[str, Any], trainer: L.Trainer, module: Any, data: Any) -> dict:
    """What `evaluate` says of a student, of one that has just been trained and validated."""
    student = module.student.to(trainer.strategy.root_device).eval()
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
        **cost_of(module, data.image_size, settings["throughput_batch"]),
        "maps": maps_of(student, data),
    }


def maps_of(student: SparseBackbone, data: Any) -> dict[str, Any]:
    """What is left of a few validation images, for a sweep's report."""
    images = spread_images(data.val_dataset(), _MAPPED)
    images = images.to(next(student.parameters()).device)
    return survivor_maps(student, images, data.normalization)


def test_accuracy(trainer: L.Trainer, module: L.LightningModule, data: Any) -> dict[str, float]:
    """Accuracies in percent, by their logged names without the split."""
    (metrics,) = trainer.test(module, data, verbose=False)
    return {name.removeprefix("test/"): round(value, 2) for name, value in metrics.items()}
