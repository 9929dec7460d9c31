"""Writes the files that an export compares: dense and sparse, in float and in 8 bits."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sized
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset, IterableDataset

from ..datamodules.spread import spread_evenly
from ..errors import InputError
from ..files import atomic_file
from .graph import export, load, write_description
from .kept import selects
from .layers import keep_outputs
from .networks import Network, student_of
from .quantize import Calibrated, quantize_dynamic, quantize_static

log = logging.getLogger(__name__)

LEAST_IMAGES, MOST_IMAGES = 32, 512  # for calibration


@dataclass(frozen=True)
class Int8:
    """Holds which 8-bit files are written, and how.

    Attributes:
        kinds: Which of `dynamic` and `static`.
        keep_float: How many layers a static file leaves in float; `auto` for as many as needed.
        images: For calibration `(n, 3, S, S)`, or clips `(n, 3, T, S, S)`; None without a static
            file.
    """

    kinds: tuple[str, ...]
    keep_float: str | int = "auto"
    images: Tensor | None = None


@dataclass(frozen=True)
class Variant:
    """Describes one file of a comparison.

    Attributes:
        network: `dense` or `sparse`.
        bits: `fp32`, `int8 dynamic` or `int8 static`.
        path: The file to deploy.
        watched: The same file with the kept sets as an additional last output, or None.
        floating: Names of layers that an 8-bit file leaves in float.
    """

    network: str
    bits: str
    path: Path
    watched: Path | None = None
    floating: tuple[str, ...] = ()


def int8_kinds(settings: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the kinds of 8-bit files that the setting `int8` asks for.

    Raises:
        InputError: If `int8`, `calibration_images` or `keep_float` has an invalid value.
    """
    choices: dict[object, tuple[str, ...]] = {
        False: (),
        True: ("dynamic",),
        "dynamic": ("dynamic",),
        "static": ("static",),
        "both": ("dynamic", "static"),
    }
    value, count, left = (settings[k] for k in ("int8", "calibration_images", "keep_float"))
    if value not in choices:
        raise InputError(f"int8={value} must be false, dynamic, static or both.")
    if not isinstance(count, int) or not LEAST_IMAGES <= count <= MOST_IMAGES:
        raise InputError(
            f"calibration_images={count} is not a whole number from {LEAST_IMAGES} to "
            f"{MOST_IMAGES}."
        )
    if left != "auto" and (not isinstance(left, int) or isinstance(left, bool) or left < 0):
        raise InputError(f"keep_float={left} is neither auto nor a whole number from 0.")
    if value and Path(settings["file"]).suffix != ".onnx":
        raise InputError(f"int8={value} writes ONNX, and file={settings['file']}: end it in .onnx.")
    return choices[value]


def calibration_images(dataset: Dataset[Any], count: int) -> Tensor:
    """Return images `(count, 3, S, S)`, or clips, spread evenly over a data set.

    All are returned, with a warning, if there are fewer than `count`.

    Raises:
        InputError: If there are fewer than `LEAST_IMAGES`, or the data comes as a stream.
    """
    if isinstance(dataset, IterableDataset) or not isinstance(dataset, Sized):
        raise InputError(
            f"calibration_images={count} are spread over the training data, and this data comes "
            "as a stream: give folders, or take int8=dynamic, which needs none."
        )
    length = len(dataset)
    if length < LEAST_IMAGES:
        raise InputError(
            f"calibration_images={count} needs at least {LEAST_IMAGES} training images, and the "
            f"data has {length}: give more, or take int8=dynamic, which needs none."
        )
    if length < count:
        log.warning(
            f"calibration_images={count} is more than the {length} training images: all {length} "
            "are used."
        )
    return torch.stack([dataset[number][0] for number in spread_evenly(length, count)])


def write_all(
    network: Network,
    path: Path,
    folder: Path,
    image_size: int,
    *,
    survivors: bool,
    described: Mapping[str, object] | None,
    int8: Int8,
    select: str = "topk",
) -> list[Variant]:
    """Write a network beside its dense copy, both in float and in the kinds of `int8`.

    Args:
        network: A student, alone or with its head, in evaluation mode, on the CPU.
        path: The file of the network in float; 8-bit ones get `_int8` and `_int8_static` before
            the suffix.
        folder: Folder for files that are not kept.
        image_size: Side in pixels.
        survivors: As in `export`.
        described: As in `export`.
        int8: What is written in 8 bits.
        select: As in `export`.
    """
    student, watched = student_of(network), None
    if int8.kinds and selects(student.method):
        watched = folder / "watched.onnx"
        export(network, watched, image_size, survivors, described, kept=True, select=select)
        _ship(watched, path)
        write_description(path, described)
    else:
        export(network, path, image_size, survivors, described, select=select)
    dense = folder / f"dense{path.suffix}"
    export(network.dense_copy(), dense, image_size)
    floating = [f"student.method.{name}" for name in student.method.scorers]
    variants = [Variant("dense", "fp32", dense), Variant("sparse", "fp32", path, watched)]
    for kind, ending in (("dynamic", "_int8"), ("static", "_int8_static")):
        if kind not in int8.kinds:
            continue
        small = folder / f"dense{ending}.onnx"
        left = _write_int8(kind, dense, small, (), int8)
        variants.append(Variant("dense", f"int8 {kind}", small, floating=left))
        shipped, small = path.with_name(f"{path.stem}{ending}{path.suffix}"), folder / ending
        left = _write_int8(kind, watched or path, small, floating, int8)
        _ship(small, shipped)
        watched_int8 = small if watched else None
        variants.append(Variant("sparse", f"int8 {kind}", shipped, watched_int8, left))
    return variants


def _write_int8(
    kind: str, path: Path, quantized: Path, floating: list[str] | tuple[()], int8: Int8
) -> tuple[str, ...]:
    if kind == "dynamic":
        quantize_dynamic(path, quantized, floating)
        return ()
    assert int8.images is not None
    calibrated = Calibrated(path, int8.images, floating)
    left = quantize_static(calibrated, load(path), int8.images, quantized, int8.keep_float)
    return tuple(left)


def _ship(watched: Path, shipped: Path) -> None:
    """Write the file `watched` without its output of kept sets to `shipped`."""
    import onnx

    model = onnx.load(watched)
    keep_outputs(model, ("logits", "survivors"))
    with atomic_file(shipped) as partial:
        onnx.save(model, partial)
