"""Records networks as CUDA graphs for inference."""

from __future__ import annotations

from collections.abc import Iterable
from types import NoneType

import torch
from torch import Tensor, nn

from ..errors import InputError
from ..measure.evaluating import evaluating
from .methods.base import Method
from .schedules import KeepSchedule

_WARM_UPS = 3  # calls that choose kernels and allocate workspaces before a capture


def graph_for_inference(network: nn.Module) -> nn.Module:
    """Record the kernels of `network` once for each input shape, and replay them as one launch.

    At small batches a GPU waits for the CPU that launches its kernels, however few tokens they
    work on; a replayed graph does without. What a call returns is overwritten by the next call
    with the same shape: copy what must live longer. Weights may change in place, not move; for
    another schedule (`student.rho`) or option of a method graphs of its own are recorded.

    Args:
        network: On a CUDA device, run in evaluation mode. The number of kept tokens must depend on
            shapes alone, which holds for all methods without a threshold.

    Returns:
        A module with the same outputs, without gradients.

    Raises:
        InputError: When it is called with images that are not on a CUDA device.
    """
    return _Graphed(network)


def plain_state(methods: Iterable[Method]) -> tuple[object, ...]:
    """Return the schedules and plain options of `methods`, which shape a graph."""
    return tuple(
        (name, value)
        for method in methods
        for name, value in vars(method).items()
        if name != "training" and isinstance(value, (int, float, str, KeepSchedule, NoneType))
    )


class _Graphed(nn.Module):
    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self._methods = tuple(part for part in network.modules() if isinstance(part, Method))
        self._recorded: dict[object, tuple[torch.cuda.CUDAGraph, Tensor, object]] = {}

    @torch.inference_mode()
    def forward(self, images: Tensor) -> object:
        if not images.is_cuda:
            raise InputError(
                f"CUDA graphs need images on a CUDA device, and these are on {images.device}."
            )
        key = (images.shape, images.dtype, plain_state(self._methods))
        if key not in self._recorded:
            with evaluating(self.network):
                self._recorded[key] = self._record(images)
        graph, static, output = self._recorded[key]
        static.copy_(images)
        graph.replay()
        return output

    def _record(self, images: Tensor) -> tuple[torch.cuda.CUDAGraph, Tensor, object]:
        static = images.clone()
        present, aside = torch.cuda.current_stream(), torch.cuda.Stream()
        aside.wait_stream(present)
        with torch.cuda.stream(aside):
            for _ in range(_WARM_UPS):
                self.network(static)
        present.wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            output = self.network(static)
        return graph, static, output
