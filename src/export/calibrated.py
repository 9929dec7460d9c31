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
from .patches import patches_as_products
from .smoothing import Ranges, smooth

SCANNED = 4  # images by which layers are ranked
_RANKING = ("TopK", "ArgMax", "Greater")  # the last with select=matmul
_BATCH = 8


class Calibrated:
    """Holds an ONNX file and the inputs of its linear layers on calibration images.

    Weights get a scale for each output channel, inputs one scale for the tensor, from the least to
    the largest value seen. Patches are embedded by a product (`patches_as_products`). Channels are
    first brought to like ranges where that costs nothing, and in all layers before tokens are first
    ranked, where small errors flip near ties (`smooth`). In float the network stays the same.

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
        patches = patches_as_products(model, images)
        self._model = onnx.shape_inference.infer_shapes(model)
        self.layers = linear_layers(self._model, floating, KINDS)
        nodes = {node.name: node for node in self._model.graph.node}
        self.names = {layer: layer_name(nodes[layer]) for layer in self.layers}
        inputs = {nodes[layer].input[0] for layer in self.layers}
        self._ranges, self._samples = _watch(self._model, sorted(inputs), images)
        explicit = set(self.before_selection()).difference(patches)
        smooth(self._model, self.layers, explicit, self._ranges, self._samples)
        nodes = {node.name: node for node in self._model.graph.node}
        self._nodes = [nodes[layer] for layer in self.layers]

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
