"""Writes ONNX files whose linear layers work in 8 bits: dynamically, or calibrated."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.progress import track
from torch import Tensor

from ..errors import InputError
from ..files import atomic_file
from ..measure.processor import instruction_set, saturates
from .agreement import agreement, in_batches
from .graph import load
from .layers import KINDS, layer_name, linear_layers

AGREEMENT = 0.98  # share of equal classes on the calibration images that `keep_float=auto` wants
FLOAT_LAYERS = (0, 1, 2, 4, 8)  # how many layers it leaves in float, one number after the other
SCANNED = 4  # images by which layers are ranked
_RANKING = ("TopK", "ArgMax", "Greater")  # the last of select=matmul
_SMALLEST = 1e-5
_BATCH = 8

Array = NDArray[np.float32]
Ranges = dict[str, tuple[Array, Array]]


def quantize_dynamic(path: Path, quantized: Path, floating: Collection[str] = ()) -> None:
    """Write `path` with 8-bit weights, whose inputs get their scales while it runs.

    Args:
        path: As `export` wrote it.
        quantized: The new file.
        floating: Paths of modules that stay in float.
    """
    with _packages():
        import onnx
        from onnxruntime.quantization import QuantType
        from onnxruntime.quantization import quantize_dynamic as quantize
    model = onnx.load(path)
    layers = linear_layers(model, floating, KINDS[:2])
    model.graph.ClearField("value_info")  # shapes of before, which the quantizer trips over
    with atomic_file(quantized) as partial, _silent():
        quantize(
            model,
            partial,
            op_types_to_quantize=list(KINDS[:2]),
            nodes_to_quantize=layers,
            weight_type=QuantType.QInt8,
            per_channel=True,
            reduce_range=saturates(instruction_set()),
        )


class Calibrated:
    """Holds an ONNX file and what its linear layers see on calibration images.

    Weights get a scale for each output channel; inputs one scale for the tensor, from the least to
    the largest value seen. Where a layer norm feeds one layer alone, its channels are first
    brought to like ranges, which the layer's weights undo (SmoothQuant, Xiao et al., ICML 2023,
    Eq. 4 with alpha = 1/2): the network in float stays the same.
    """

    def __init__(self, path: Path, images: Tensor, floating: Collection[str] = ()) -> None:
        """Run `images (n, 3, S, S)` through the file `path`.

        Args:
            path: As `export` wrote it.
            images: Prepared as for evaluation.
            floating: Paths of modules that stay in float.
        """
        with _packages():
            import onnx
        model = onnx.load(path)
        model.graph.ClearField("value_info")  # of before the exporter's last changes
        self._model = onnx.shape_inference.infer_shapes(model)
        self.layers = linear_layers(self._model, floating, KINDS)
        nodes = {node.name: node for node in self._model.graph.node}
        self.names = {layer: layer_name(nodes[layer]) for layer in self.layers}
        inputs = {nodes[layer].input[0] for layer in self.layers}
        self._ranges, self._samples = _watch(self._model, sorted(inputs), images)
        self._nodes = [nodes[layer] for layer in self.layers]
        self._smooth()

    def write(self, quantized: Path, floating: Collection[str] = ()) -> None:
        """Write the file with all `layers` but `floating` in 8 bits."""
        import onnx
        from onnxruntime.quantization import CalibrationMethod, QuantType
        from onnxruntime.quantization.calibrate import TensorsData
        from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

        model = onnx.ModelProto()
        model.CopyFrom(self._model)
        ranges = {
            name: (np.float32(min(low.min(), 0)), np.float32(max(high.max(), 0)))
            for name, (low, high) in self._ranges.items()
        }
        with atomic_file(quantized) as partial, _silent():
            quantizer = QDQQuantizer(
                model,
                True,  # per channel
                saturates(instruction_set()),
                QuantType.QInt8,
                QuantType.QUInt8,
                TensorsData(CalibrationMethod.MinMax, ranges),
                [layer for layer in self.layers if layer not in floating],
                [],
                list(KINDS),
                {"OpTypesToExcludeOutputQuantization": list(KINDS), "QuantizeBias": False},
            )
            if len(floating) < len(self.layers):
                quantizer.quantize_model()
            quantizer.model.save_model_to_file(str(partial))

    def before_selection(self) -> list[str]:
        """Return the layers that run before tokens are first ranked; none if they never are."""
        earlier: list[str] = []
        for node in self._model.graph.node:
            if node.op_type in _RANKING:
                return earlier
            if node.name in self.layers:
                earlier.append(node.name)
        return []

    def worst_first(self) -> list[str]:
        """Rank layers by the share of noise in their outputs when they work in 8 bits."""
        from onnx import numpy_helper

        weights = {weight.name: weight for weight in self._model.graph.initializer}
        noise = {}
        for node in track(self._nodes, description="Scanning layers", transient=True):
            name = node.input[0]
            low, high = self._ranges[name]
            seen, weight = self._samples[name], numpy_helper.to_array(weights[node.input[1]])
            step = (max(high.max(), 0) - min(low.min(), 0)) / 255
            rounded = (np.round(seen / step) * step).astype(np.float32)
            exact, found = _apply(node, [(seen, weight), (rounded, _round(node, weight))])
            noise[node.name] = float(((found - exact) ** 2).mean() / (exact**2).mean())
        return sorted(self.layers, key=lambda layer: -noise[layer])

    def _smooth(self) -> None:
        from onnx import numpy_helper

        graph = self._model.graph
        makers = {output: node for node in graph.node for output in node.output}
        used = [name for node in graph.node for name in node.input]
        weights = {weight.name: weight for weight in graph.initializer}
        for node in self._nodes:
            name, weight = node.input[:2]
            norm = makers.get(name)
            if norm is None or norm.op_type != "LayerNormalization" or node.op_type != "MatMul":
                continue
            parts = (weight, *norm.input[1:3])
            if used.count(name) > 1 or any(used.count(part) > 1 for part in parts):
                continue
            low, high = self._ranges[name]
            matrix = numpy_helper.to_array(weights[weight])  # (in, out)
            seen = np.maximum(-low, high).clip(_SMALLEST)
            scale = np.sqrt(seen / np.abs(matrix).max(axis=1).clip(_SMALLEST))
            factors = (scale[:, None], 1 / scale, 1 / scale)
            for part, factor in zip(parts, factors, strict=False):
                changed = (numpy_helper.to_array(weights[part]) * factor).astype(np.float32)
                weights[part].CopyFrom(numpy_helper.from_array(changed, part))
            self._ranges[name] = (low / scale, high / scale)
            self._samples[name] = self._samples[name] / scale


def quantize_static(
    calibrated: Calibrated,
    reference: Callable[[Tensor], tuple[Tensor, ...]],
    images: Tensor,
    quantized: Path,
    keep_float: str | int,
) -> list[str]:
    """Write a calibrated file, and leave in float the layers that do most harm.

    Args:
        calibrated: The file to write.
        reference: Runs the file in float.
        images: The calibration images `(n, 3, S, S)`.
        quantized: The new file.
        keep_float: How many; `auto` takes the first of `FLOAT_LAYERS`, or else all layers before
            the first selection, with which `AGREEMENT` of the calibration images get the same class
            as in float, or the last.

    Returns:
        Names of the layers in float, the most harmful first.
    """
    if keep_float != "auto":
        floating = calibrated.worst_first()[: int(keep_float)]
        calibrated.write(quantized, floating)
        return [calibrated.names[layer] for layer in floating]
    wanted = in_batches(reference, images)[0]
    worst, earlier = calibrated.worst_first(), calibrated.before_selection()
    choices = [*(worst[:count] for count in FLOAT_LAYERS), *([earlier] if earlier else [])]
    for floating in track(choices, description="Leaving layers in float", transient=True):
        calibrated.write(quantized, floating)
        if agreement(wanted, in_batches(load(quantized), images)[0]).same >= AGREEMENT:
            break
    return [calibrated.names[layer] for layer in floating]


def _round(node: Any, weight: Array) -> Array:
    """Round weights to 8 bits, with a scale for each output channel."""
    transposed = any(entry.name == "transB" and entry.i for entry in node.attribute)
    first = node.op_type == "Conv" or transposed  # where the output channels are
    axes = tuple(range(1, weight.ndim)) if first else tuple(range(weight.ndim - 1))
    step = np.abs(weight).max(axis=axes, keepdims=True).clip(_SMALLEST**2) / 127
    rounded: Array = (np.round(weight / step) * step).astype(np.float32)
    return rounded


def _apply(node: Any, operands: list[tuple[Array, Array]]) -> list[Array]:
    """Run one node by itself, without its bias, on several pairs of input and weights."""
    import onnx
    import onnxruntime

    names = list(node.input[:2])
    alone = onnx.helper.make_node(node.op_type, names, [node.output[0]])
    alone.attribute.extend(node.attribute)
    value, kind = onnx.helper.make_tensor_value_info, onnx.TensorProto.FLOAT
    graph = onnx.helper.make_graph(
        [alone],
        "layer",
        [value(name, kind, None) for name in names],
        [value(node.output[0], kind, None)],
    )
    opsets = [onnx.helper.make_opsetid("", 18)]
    model = onnx.helper.make_model(graph, opset_imports=opsets, ir_version=9)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return [session.run(None, dict(zip(names, pair, strict=True)))[0] for pair in operands]


def _watch(model: Any, names: list[str], images: Tensor) -> tuple[Ranges, dict[str, Array]]:
    """Return what the tensors `names` hold when `images` run through a model.

    Returns:
        The least and the largest value for each place of the last dimension, and the values of the
        first `SCANNED` images.
    """
    import onnx
    import onnxruntime

    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    given = {each.name for each in watched.graph.input}
    watched.graph.ClearField("output")
    made = [name for name in names if name not in given]
    for name in made:
        value = onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None)
        watched.graph.output.append(value)
    session = onnxruntime.InferenceSession(
        watched.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    ranges: Ranges = {}
    samples: dict[str, Array] = {}
    parts = images.split(_BATCH)
    for part in track(parts, description="Calibrating", transient=True):
        outputs = [*session.run(made, {"images": part.numpy()}), part.numpy()]
        for name, seen in zip([*made, "images"], outputs, strict=True):
            flat = seen.reshape(-1, seen.shape[-1])
            low, high = flat.min(axis=0), flat.max(axis=0)
            samples.setdefault(name, seen[:SCANNED])
            if name in ranges:
                low = np.minimum(low, ranges[name][0])
                high = np.maximum(high, ranges[name][1])
            ranges[name] = low, high
    return ranges, samples


@contextmanager
def _packages() -> Iterator[None]:
    try:
        yield
    except ImportError as error:
        raise InputError(
            f"8 bits need packages: pip install onnx onnxruntime ({error})."
        ) from error


@contextmanager
def _silent() -> Iterator[None]:
    """Silence advice of the quantizer's that this project has followed or cannot follow."""
    logger = logging.getLogger()
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
