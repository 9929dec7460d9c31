"""Computes how much noise 8 bits add to the output of a linear layer."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
_SMALLEST = 1e-10


def noise_share(node: Any, seen: Array, weight: Array, low: float, high: float) -> float:
    """Return the mean squared noise of a layer's output in 8 bits over its mean square.

    Args:
        node: The layer: MatMul, Gemm or Conv.
        seen: A sample of its inputs.
        weight: Its weights.
        low: The least input, at most 0.
        high: The largest input, at least 0.
    """
    step = (high - low) / 255
    rounded = (np.round(seen / step) * step).astype(np.float32)
    exact, found = _apply(node, [(seen, weight), (rounded, _round(node, weight))])
    return float(((found - exact) ** 2).mean() / (exact**2).mean())


def _round(node: Any, weight: Array) -> Array:
    """Round weights to 8 bits, with a scale for each output channel."""
    transposed = any(entry.name == "transB" and entry.i for entry in node.attribute)
    first = node.op_type == "Conv" or transposed  # are output channels the first dimension?
    axes = tuple(range(1, weight.ndim)) if first else tuple(range(weight.ndim - 1))
    step = np.abs(weight).max(axis=axes, keepdims=True).clip(_SMALLEST) / 127
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
