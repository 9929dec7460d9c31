"""Compiles networks for inference."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..measure.evaluating import evaluating

_PROGRAMS = 256  # of all networks of a class; torch's 8 would end a loop over four keep ratios


def compile_for_inference(network: nn.Module) -> nn.Module:
    """Compile `network` in evaluation mode by `torch.compile`: one graph, its weights constants.

    Constant weights are stored in the layout that kernels prefer; later changes to them or to their
    device have no effect. The first call with one image and the first with several compile a
    program each, in one to three minutes; the latter serves every batch size from two on. Another
    schedule (`student.rho`), option of a method or size of images gets programs of its own.

    Args:
        network: A module on images `(B, 3, S, S)`: a student, or a timm network.

    Returns:
        A module with the same outputs, without gradients.
    """
    return _Compiled(network)


class _Compiled(nn.Module):
    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self._run = torch.compile(network, fullgraph=True, options={"freezing": True})

    @torch.no_grad()
    def forward(self, images: Tensor) -> object:
        if len(images) > 1:
            torch._dynamo.mark_dynamic(images, 0)
        with evaluating(self.network), torch._dynamo.config.patch(recompile_limit=_PROGRAMS):
            return self._run(images)
