"""Accuracy, cost and speed of a student in one row."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning as L
import torch
from PIL import Image
from rich.console import Console
from rich.table import Table
from torch import Tensor

from .callbacks.disagreement import Disagreement
from .callbacks.position_map import ClassMap, PositionMap
from .callbacks.predictions import PredictionWriter
from .callbacks.stop_at_signal import StopAtSignal
from .callbacks.token_maps import images_at, inspect, spread_images
from .class_names import match_classes
from .dashboard.images import masked_images
from .errors import InputError
from .modules.backbones.base import SparseBackbone
from .modules.build import attach, instantiate
from .modules.complexity import count_gmacs, count_params_m
from .modules.dense import DenseModule, whole_cost, whole_speed
from .modules.throughput import compare_speed
from .pictures import draw_token_maps
from .sweep.maps import survivor_maps
from .tables import TableWriter
from .validation import check_target
from .whole import whole_file

_LABELS = {"speedup": "speedup (median of turns)", "whole_speedup": "whole_speedup (same)"}
_MAPPED = 6  # images in a report's gallery
_OF_LABELS = ("position_map", "class_map", "predictions", "disagreement")


def evaluate(settings: dict[str, Any], choices: dict[str, str]) -> dict[str, Any]:
    """Test a student on the validation images; log to W&B if `settings` ask for it.

    Args:
        settings: `conf/eval.yaml`, resolved.
        choices: Names of `backbone` and `method`.

    Returns:
        `choices`; the task's metrics in percent, as `acc1`, `miou` or `box_ap`; `cost_and_speed`;
        and where there is a head on the maps `whole_cost` and `whole_speed`.
    """
    datamodule = instantiate(settings["datamodule"])
    datamodule.check("test")
    if settings["backbone"]["weights"]:
        match_classes(datamodule, settings["backbone"]["weights"])
    module = instantiate(
        settings["task"],
        num_classes=datamodule.num_classes,
        present_classes=datamodule.present_classes,
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
        with whole_file(path) as partial:
            show_tokens(student, shown, datamodule).save(partial)
    row = {
        **choices,
        "rho": settings["rho"],
        "seed": settings["seed"],
        **accuracy,
        **cost_of(module, datamodule.image_size, settings["throughput_batch"]),
        "maps": maps_of(student, datamodule),
    }
    if "wandb" in settings.get("logger", {}):
        from .dashboard.runs import log_row

        output, locations = inspect(student, shown), student.method.schedule.locations
        normalization = datamodule.input_config["mean"], datamodule.input_config["std"]
        log_row(row, masked_images(shown, output, locations, *normalization), settings)
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
    output = inspect(student, images)
    normalization = data.input_config["mean"], data.input_config["std"]
    return draw_token_maps(images, output, student.method.schedule.locations, *normalization)


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
        **cost_of(module, data.image_size, settings["throughput_batch"]),
        "maps": maps_of(student, data),
    }


def maps_of(student: SparseBackbone, data: Any) -> dict[str, Any]:
    """What is left of a few validation images, for a sweep's report."""
    images = spread_images(data.val_dataset(), _MAPPED)
    images = images.to(next(student.parameters()).device)
    return survivor_maps(student, images, data.input_config["mean"], data.input_config["std"])


def test_accuracy(trainer: L.Trainer, module: L.LightningModule, data: Any) -> dict[str, float]:
    """Accuracies in percent, by their logged names without the split."""
    (metrics,) = trainer.test(module, data, verbose=False)
    return {name.removeprefix("test/"): round(value, 2) for name, value in metrics.items()}


def cost_of(module: Any, image_size: int, batch_size: int) -> dict[str, Any]:
    """`cost_and_speed` of a module's student, and of the whole network where it has a head."""
    row = cost_and_speed(module.student, image_size, batch_size)
    if isinstance(module, DenseModule):
        whole = module.whole.eval()
        row |= whole_cost(whole, image_size) | whole_speed(whole, image_size, batch_size)
    return row


def cost_and_speed(student: SparseBackbone, image_size: int, batch_size: int) -> dict[str, Any]:
    """GMACs, parameters and images a second beside the dense network's, timed in turns.

    `speedup` is the median over turns of the ratio within a turn, which noise moves less than the
    quotient of `images_per_s` and `images_per_s_dense`, each a median by itself.

    Args:
        student: On the device to time on.
        image_size: Side in pixels.
        batch_size: Images in the timed batch.
    """
    device = next(student.parameters()).device
    images = torch.randn(batch_size, 3, image_size, image_size, device=device)
    speed = compare_speed({"dense": student.backbone, "sparse": student}, [images])
    gmacs = count_gmacs(student, image_size)
    dense_gmacs = count_gmacs(student.backbone, image_size)
    return {
        "gmacs": gmacs,
        "gmacs_dense": dense_gmacs,
        "gmacs_share": gmacs / dense_gmacs,
        "params_m": count_params_m(student),
        "images_per_s": speed["sparse"].images_per_s,
        "images_per_s_dense": speed["dense"].images_per_s,
        "speedup": speed["sparse"].over(speed["dense"])[0],
        "batch_size": batch_size,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }


def print_table(rows: Sequence[dict[str, Any]], columns: Sequence[str]) -> None:
    """Show `rows` side by side on the terminal, one line for each of `columns`."""
    table = Table(show_header=False)
    table.add_column()
    for _ in rows:
        table.add_column(justify="right")
    for column in columns:
        table.add_row(_LABELS.get(column, column), *(_shown(row.get(column)) for row in rows))
    Console().print(table)


def _shown(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def write_csv(rows: Sequence[dict[str, Any]], path: Path, columns: Sequence[str]) -> None:
    """Write `columns` of `rows`."""
    with whole_file(path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        table = TableWriter(file)
        table.write(columns)
        for row in rows:
            table.write(row.get(column, "") for column in columns)
