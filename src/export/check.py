"""Exports as `conf/export.yaml` says, and checks and measures the files."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Collection
from pathlib import Path
from typing import Any

from ..checkpoints.checkpoint import Checkpoint, taken
from ..config import instantiate, locate
from ..datamodules.clip_labels import CLIP_LABEL
from ..errors import InputError
from ..modules.heads.base import WholeNetwork
from ..modules.saving.description import describe
from ..runs.class_names import match_classes
from .files import Int8, calibration_images, int8_kinds, write_all
from .graph import LARGEST_BATCH, Deployed, largest_difference, load
from .networks import Network, build, student_of
from .report import Row, circumstances, scored, timed

log = logging.getLogger(__name__)


def export_and_check(settings: dict[str, Any]) -> tuple[list[Row], Row]:
    """Write the files, compare them with PyTorch and with each other, and time them.

    Args:
        settings: `conf/export.yaml`, resolved.

    Returns:
        A row for each file (see `timed` and `scored`), dense and sparse in float first, and what
        the numbers depend on (see `circumstances`). Rows of files that are kept have their path
        as `file`.

    Raises:
        InputError: If the task cannot be exported, its 8-bit version cannot be scored, or
            `check_batches` are no sizes of batches.
    """
    kinds = int8_kinds(settings)
    _check_task(settings)
    _check_batches(settings["check_batches"])
    weights, path = settings["backbone"]["weights"], Path(settings["file"])
    checkpoint = taken(weights) if weights else None
    data, images = _data(settings, checkpoint, kinds), None
    if "static" in kinds:
        images = calibration_images(data.plain_train_dataset(), settings["calibration_images"])
    network, size = build(settings, checkpoint)
    student, batch = student_of(network), settings["throughput_batch"]
    with tempfile.TemporaryDirectory() as folder:
        variants = write_all(
            network,
            path,
            Path(folder),
            size,
            survivors=settings["survivors"],
            described=_description(network),
            select=settings["select"],
            int8=Int8(kinds, settings["keep_float"], images),
        )
        rows, number = timed(variants, (batch, 3, *student.input_sides(size))), 0
        if kinds:
            scores, number = scored(variants, data, batch)
            rows = [row | score for row, score in zip(rows, scores, strict=True)]
    model, run = Deployed(network, settings["survivors"]), load(path)
    rows[1] |= {
        f"difference_batch_{b}": largest_difference(model, run, size, b)
        for b in settings["check_batches"]
    }
    for variant, row in zip(variants, rows, strict=True):
        if variant.path.is_file():  # those in the temporary folder are gone
            row["file"] = str(variant.path)
    return rows, circumstances(batch, number, None if images is None else len(images))


def _data(settings: dict[str, Any], checkpoint: Checkpoint | None, kinds: Collection[str]) -> Any:
    """Return the data module that 8-bit files are calibrated and scored with; None for none."""
    if not kinds:
        return None
    data = instantiate(settings["datamodule"])
    data.check("fit" if "static" in kinds else "test")
    if checkpoint:
        match_classes(data, checkpoint)
    return data


def _check_task(settings: dict[str, Any]) -> None:
    task = locate(settings["task"])
    if settings["int8"] and task.target not in ("label", CLIP_LABEL):
        raise InputError(
            f"int8={settings['int8']} measures top-1, and this task learns from "
            f"{task.target_words.get(task.target, task.target)}: write int8=false."
        )


def _check_batches(sizes: object) -> None:
    listed = sizes if isinstance(sizes, list) else []
    if not listed or any(type(b) is not int or not 1 <= b <= LARGEST_BATCH for b in listed):
        raise InputError(
            f"check_batches={sizes} is not a list of whole numbers from 1 to {LARGEST_BATCH}, "
            "as [1,5]."
        )


def _description(network: Network) -> dict[str, object] | None:
    head = network.head if isinstance(network, WholeNetwork) else None
    try:
        return describe(student_of(network), head, None)
    except InputError as error:
        log.warning(f"The file describes neither classes nor preprocessing. {error}")
        return None
