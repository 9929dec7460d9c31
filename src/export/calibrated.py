"""Calibrates the linear layers of an ONNX file and writes them in 8 bits."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import track
from torch import Tensor

from ..errors import InputError
from ..files import atomic_file
from ..measure.processor import instruction_set, saturates
from .layers import KINDS, layer_name, linear_layers
from .noise import Array, noise_share

SCANNED = 4  # images by which layers are ranked
_RANKING = ("TopK", "ArgMax", "Greater")  # the last with select=matmul
_SMALLEST = 1e-5
_BATCH = 8

Ranges = dict[str, tuple[Array, Array]]


class Calibrated:
    """Holds an ONNX file and the inputs of its linear layers on calibration images.

    Weights get a scale for each output channel, inputs one scale for the tensor, from the least to
    the largest value seen. Where a layer norm feeds one layer alone, its channels are first scaled
    to similar ranges, which the layer's weights undo (SmoothQuant, Xiao et al., ICML 2023, Eq. 4
    with alpha = 1/2), so that the network in float stays the same.

    Attributes:
        layers: Names of the nodes that may work in 8 bits.
        names: The path of the module that each of them belongs to.
    """

    def __init__(self, path: Path, images: Tensor, floating: Collection[str] = ()) -> None:
        """Run `images (n, 3, S, S)` through the file `path`.

        Args:
            path: A file that `export` wrote.
            images: Prepared as for evaluation.
            floating: Paths of modules that stay in float.
        """
        with packages():
            import onnx
        model = onnx.load(path)
        model.graph.ClearField("value_info")  # outdated by the exporter's last changes
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
        with atomic_file(quantized) as partial, silent():
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
        """Return the layers that run before tokens are first ranked; none if tokens never are."""
        earlier: list[str] = []
        for node in self._model.graph.node:
            if node.op_type in _RANKING:
                return earlier
            if node.name in self.layers:
                earlier.append(node.name)
        return []

    def worst_first(self) -> list[str]:
        """Return the layers by the share of noise in their outputs in 8 bits, the largest first."""
        from onnx import numpy_helper

        weights = {weight.name: weight for weight in self._model.graph.initializer}
        noise = {}
        for node in track(self._nodes, description="Scanning layers", transient=True):
            name = node.input[0]
            low, high = self._ranges[name]
            weight = numpy_helper.to_array(weights[node.input[1]])
            ends = float(min(low.min(), 0)), float(max(high.max(), 0))
            noise[node.name] = noise_share(node, self._samples[name], weight, *ends)
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


def _watch(model: Any, names: list[str], images: Tensor) -> tuple[Ranges, dict[str, Array]]:
    """Run `images` through a model, and return ranges and samples of the tensors `names`.

    Returns:
        The least and the largest value for each index of the last dimension, and the values for
        the first `SCANNED` images.
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
def packages() -> Iterator[None]:
    """Turn the error of a missing package into one sentence."""
    try:
        yield
    except ImportError as error:
        raise InputError(
            f"8-bit files need packages: pip install onnx onnxruntime ({error})."
        ) from error


@contextmanager
def silent() -> Iterator[None]:
    """Silence the quantizer's advice, which has been followed or cannot be followed."""
    logger = logging.getLogger()
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
