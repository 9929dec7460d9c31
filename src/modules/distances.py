"""Compares a student's tokens and classes with a teacher's, and averages over processes."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor

from .backbones.base import SparseOutput


def by_token(output: SparseOutput, values: Tensor) -> tuple[Tensor, Tensor]:
    """Average the teacher's `values (B, patches, C)` over the patches of each student token.

    Returns:
        The mean over each token's patches, `(B, N, C)`; and which tokens count, `(B, N)`: 1 where
        the size is above 0 and the token stands for a patch.
    """
    alive = (output.size.detach() > 0).float()
    if output.source is None:
        return values, alive
    stands = (output.source >= 0).to(values.dtype).unsqueeze(-1)
    index = output.source.clamp(min=0).unsqueeze(-1)
    total = values.new_zeros(*alive.shape, values.shape[-1])
    total = total.scatter_add(1, index.expand_as(values), stands * values)
    patches = values.new_zeros(*alive.shape, 1).scatter_add(1, index, stands)
    return total / patches.clamp(min=1), alive * (patches.squeeze(-1) > 0)


def kept_mean(values: Tensor, kept: Tensor) -> Tensor:
    """Return the mean of `values (B, N)` where `kept` is 1; 0 if nothing is kept.

    The mean is over the images of all processes: the average of their gradients, which DDP takes,
    then equals the gradient of a single process with all the images.
    """
    return (values * kept).sum() / mean_of_processes(kept.sum()).clamp(min=1)


def mean_of_processes(value: Tensor) -> Tensor:
    """Return the mean of a value without gradients over the processes of a training."""
    if not (dist.is_available() and dist.is_initialized()):
        return value
    total = value.clone()
    dist.all_reduce(total)
    return total / dist.get_world_size()


def kl_divergence(teacher: Tensor, student: Tensor) -> Tensor:
    """Return KL(teacher || student) over the last dimension of logits `(..., classes)`, in fp32."""
    log_p, log_q = teacher.float().log_softmax(-1), student.float().log_softmax(-1)
    p, distance = log_p.exp(), log_p - log_q
    # sum(p * distance) loses precision where the two nearly agree; sum(q - p) = 0 added to it
    # makes every summand small and positive. Far apart, exp(-distance) = q / p may overflow.
    is_near = distance.abs() < 1
    near = torch.where(is_near, distance, 0.0)
    summands = torch.where(is_near, p * (near + torch.expm1(-near)), p * distance + log_q.exp() - p)
    return summands.sum(-1)
