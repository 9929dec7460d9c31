"""Writes ONNX files whose linear layers work in 8 bits, with dynamic or calibrated scales."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path

from rich.progress import track
from torch import Tensor

from ..files import atomic_file
from ..measure.processor import instruction_set, saturates
from .agreement import agreement, in_batches
from .calibrated import Calibrated, packages, silent
from .graph import load
from .layers import KINDS, linear_layers

AGREEMENT = 0.98  # share of equal classes on calibration images that `keep_float=auto` asks for
FLOAT_LAYERS = (0, 1, 2, 4, 8)  # numbers of layers in float that it tries, in this order


def quantize_dynamic(path: Path, quantized: Path, floating: Collection[str] = ()) -> None:
    """Write `path` with 8-bit weights; inputs get their scales while the network runs.

    Args:
        path: A file that `export` wrote.
        quantized: The new file.
        floating: Paths of modules that stay in float.
    """
    with packages():
        import onnx
        from onnxruntime.quantization import QuantType
        from onnxruntime.quantization import quantize_dynamic as quantize
    model = onnx.load(path)
    layers = linear_layers(model, floating, KINDS[:2])
    model.graph.ClearField("value_info")  # outdated shapes, on which the quantizer fails
    with atomic_file(quantized) as partial, silent():
        quantize(
            model,
            partial,
            op_types_to_quantize=list(KINDS[:2]),
            nodes_to_quantize=layers,
            weight_type=QuantType.QInt8,
            per_channel=True,
            reduce_range=saturates(instruction_set()),
        )


def quantize_static(
    calibrated: Calibrated,
    reference: Callable[[Tensor], tuple[Tensor, ...]],
    images: Tensor,
    quantized: Path,
    keep_float: str | int,
) -> list[str]:
    """Write a calibrated file, and leave the most harmful layers in float.

    Args:
        calibrated: The file to write.
        reference: Runs the file that is in float.
        images: The calibration images `(n, 3, S, S)`.
        quantized: The new file.
        keep_float: How many layers to leave in float. `auto` tries the numbers in `FLOAT_LAYERS`,
            then all layers before the first selection, until `AGREEMENT` of the calibration images
            get the same class as in float; the last try stays if none does.

    Returns:
        Names of the layers in float, the most harmful first.
    """
    if keep_float != "auto":
        floating = calibrated.worst_first()[: int(keep_float)]
        calibrated.write(quantized, floating)
        return [calibrated.names[layer] for layer in floating]
    expected = in_batches(reference, images)[0]
    worst, earlier = calibrated.worst_first(), calibrated.before_selection()
    choices = [*(worst[:count] for count in FLOAT_LAYERS), *([earlier] if earlier else [])]
    for floating in track(choices, description="Leaving layers in float", transient=True):
        calibrated.write(quantized, floating)
        if agreement(expected, in_batches(load(quantized), images)[0]).same >= AGREEMENT:
            break
    return [calibrated.names[layer] for layer in floating]
