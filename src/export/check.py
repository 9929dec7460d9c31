"""Export as `conf/export.yaml` asks, and look at what came out."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..checkpoints.checkpoint import taken
from ..config import instantiate, locate
from ..errors import InputError
from ..measure.throughput import Speed, take_turns
from ..modules.backbones.base import SparseBackbone
from ..modules.dense import DenseModule
from ..modules.networks.create import own_classes
from ..modules.saving.description import describe
from ..modules.student import build_student
from ..runs.class_names import match_classes
from .graph import Deployed, export, largest_difference, load, quantize

log = logging.getLogger(__name__)


def export_and_check(settings: dict[str, Any]) -> list[dict[str, Any]]:
    """Write the file, compare it with PyTorch at each of `check_batches`, time it beside dense.

    Args:
        settings: `conf/export.yaml`, resolved.

    Returns:
        A row for the file, and one for its 8-bit version where `int8` asks for it. `speedup`
        is the median over turns of the ratio within a turn, which noise moves less than the
        quotient of `images_per_s` and `images_per_s_dense`, each a median by itself.

    Raises:
        InputError: If the task cannot be exported, or its 8-bit version not be scored.
    """
    _check_task(settings)
    backbone, path = settings["backbone"], Path(settings["file"])
    checkpoint = taken(backbone["weights"]) if backbone["weights"] else None
    student = build_student(
        backbone,
        settings["method"],
        settings["schedule"],
        (checkpoint and checkpoint.num_classes) or own_classes(backbone["network"]),
        checkpoint=checkpoint,
    ).eval()
    size, batch = backbone["image_size"], settings["throughput_batch"]
    export(student, path, size, settings["survivors"], _description(student))
    model, run = Deployed(student, settings["survivors"]), load(path)
    row: dict[str, Any] = {
        "file": str(path),
        "megabytes": path.stat().st_size / 1e6,
        **{
            f"difference_batch_{b}": largest_difference(model, run, size, b)
            for b in settings["check_batches"]
        },
    }
    with tempfile.TemporaryDirectory() as folder:
        dense = Path(folder) / f"dense{path.suffix}"
        export(student.dense_copy(), dense, size)
        images = torch.randn(batch, 3, *student.input_sides(size))
        calls: dict[str, Callable[[], Any]] = {
            "dense": _bound(load(dense), images),
            "sparse": _bound(run, images),
        }
        rows = [row]
        if settings["int8"]:
            small = path.with_name(f"{path.stem}_int8{path.suffix}")
            quantize(path, small)
            calls["int8"] = _bound(load(small), images)
            rows.append({"file": str(small), "megabytes": small.stat().st_size / 1e6})
        speeds = {
            name: Speed(tuple(batch / t for t in times))
            for name, times in take_turns(calls).items()
        }
    for one, name in zip(rows, ("sparse", "int8"), strict=False):
        one["batch_size"] = batch
        one["images_per_s"] = speeds[name].images_per_s
        one["images_per_s_dense"] = speeds["dense"].images_per_s
        one["speedup"] = speeds[name].over(speeds["dense"])[0]
    if settings["int8"]:
        data = instantiate(settings["datamodule"])
        data.check("test")
        if checkpoint:
            match_classes(data, checkpoint)
        for one in rows:
            one["acc1"] = accuracy(load(Path(one["file"])), data)
    return rows


def accuracy(run: Callable[[Tensor], tuple[Tensor, ...]], data: Any) -> float:
    """Top-1 in percent over the validation images."""
    data.setup("test")
    right = total = 0
    for images, labels in data.test_dataloader():
        right += int((run(images)[0].argmax(dim=1) == labels).sum())
        total += len(labels)
    return 100 * right / total


def _check_task(settings: dict[str, Any]) -> None:
    task = locate(settings["task"])
    if issubclass(task, DenseModule):
        raise InputError(
            f"ckpt_path={settings['ckpt_path']} with the task {task.__name__} cannot be exported "
            "yet: give a classifier's, of task=classification."
        )
    if settings["int8"] and task.target != "label":
        raise InputError(
            f"int8={settings['int8']} measures top-1, and this task learns from "
            f"{task.target_words.get(task.target, task.target)}: write int8=false."
        )


def _description(student: SparseBackbone) -> dict[str, object] | None:
    try:
        return describe(student, None, None)
    except InputError as error:
        log.warning(f"The file describes neither classes nor preprocessing. {error}")
        return None


def _bound(run: Callable[[Tensor], Any], images: Tensor) -> Callable[[], Any]:
    return lambda: run(images)
