"""Calculates what a training step costs, from the networks' structure on the meta device."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from ..measure.live import Live
from ..modules.backbones.sequence import SequenceBackbone
from ..modules.optim import build_optimizer, parameter_groups
from ..modules.sharding import units_of
from .planned_step import PlannedStep, forget_gradient


@dataclass(frozen=True)
class Block:
    """Holds how many tokens enter a block and how many bytes it keeps for the backward pass."""

    tokens: int
    kept: int


@dataclass(frozen=True)
class Plan:
    """Holds what a training step of one network costs on one device, in bytes.

    Attributes:
        weights: Weights of the student and its loss.
        teacher: Weights of the teacher; 0 without one.
        optimizer: Optimizer state after the first step.
        gradients: Gradients of the trained parameters.
        activations: Peak during the step beside gradients and all that persists.
        step: Peak during the step beside all that persists, gradients included.
        tmacs: Multiply-accumulates of forward and backward, the teacher's included, over 1e12.
        blocks: The blocks of a plain transformer, in order; else empty.
        largest: Weights of the largest block, which sharding gathers at once.
        rest: Weights outside of blocks.
    """

    weights: int
    teacher: int
    optimizer: int
    gradients: int
    activations: int
    step: int
    tmacs: float
    blocks: tuple[Block, ...]
    largest: int
    rest: int

    def alone(self) -> int:
        """Return the bytes of one process alone."""
        return self.weights + self.teacher + self.optimizer + self.step

    def replicated(self, processes: int) -> int:
        """Return the bytes of each process under DDP, which keeps gradients in buckets too."""
        if processes == 1:
            return self.alone()
        stays = self.weights + self.teacher + self.optimizer
        return stays + 2 * self.gradients + self.activations

    def sharded(self, processes: int) -> int:
        """Return the bytes of each process if all that persists is sharded.

        Two blocks are gathered at once, one of them ahead of use, together with the gradients of
        one block and the weights outside of blocks.
        """
        if processes == 1:
            return self.alone()
        shared = self.weights + self.teacher + self.optimizer + self.gradients
        return shared // processes + self.activations + self.rest + 3 * self.largest

    def all_reduced(self, processes: int) -> int:
        """Return the bytes that each process sends in a step under DDP (ring all-reduce)."""
        return 2 * self.gradients * (processes - 1) // processes

    def gathered(self, processes: int) -> int:
        """Return the bytes that each process sends in a step if weights are sharded.

        Weights are gathered for forward and for backward, the teacher's once; gradients are
        reduced and scattered.
        """
        moved = 2 * self.weights + self.teacher + self.gradients
        return moved * (processes - 1) // processes


def plan(overrides: Sequence[str], *, dense: bool = False) -> Plan:
    """Calculate what a training step costs, from the networks' structure on the meta device.

    Args:
        overrides: As for `train.py`.
        dense: Plan the dense network with cross-entropy and no teacher instead.

    Raises:
        InputError: If the settings cannot be planned.
    """
    step = PlannedStep(overrides, dense=dense, device=torch.device("meta"))
    with FlopCounterMode(display=False) as counter:  # it counts attention only if not fused
        step()
    step.drop_gradients()
    gradients, held = _step_memory(step, keep_gradients=True)
    _, activations = _step_memory(step, keep_gradients=False)
    units = [
        _bytes(p for part in unit for p in part.parameters()) for unit in units_of(step.student)
    ]
    weights = _bytes(step.parameters())
    return Plan(
        weights=weights,
        teacher=_bytes(step.teacher_weights()),
        optimizer=_optimizer_memory(step),
        gradients=gradients,
        activations=activations,
        step=held,
        tmacs=counter.get_total_flops() / 2 / 1e12,
        blocks=_blocks(step),
        largest=max(units, default=0),
        rest=weights - sum(units),
    )


def _step_memory(step: PlannedStep, *, keep_gradients: bool) -> tuple[int, int]:
    """Return the bytes that a step leaves allocated and those at its peak."""
    hooks = [
        p.register_post_accumulate_grad_hook(forget_gradient)
        for p in step.parameters()
        if p.requires_grad and not keep_gradients
    ]
    with step.as_on_device(), Live(step.known()) as live:
        step()
    for hook in hooks:
        hook.remove()
    left = live.held
    step.drop_gradients()
    return left, live.most


def _optimizer_memory(step: PlannedStep) -> int:
    groups = parameter_groups(step.student, 1.0, 1.0, 0.0, {"loss": step.loss})
    optimizer = build_optimizer(step.optimizer, groups)
    for parameter in step.parameters():
        parameter.grad = torch.empty_like(parameter)
    optimizer.step()
    step.drop_gradients()
    states = [value for state in optimizer.state.values() for value in state.values()]
    return _bytes(value for value in states if isinstance(value, Tensor))


def _blocks(step: PlannedStep) -> tuple[Block, ...]:
    """Return what each block of a plain transformer keeps, measured when the next begins."""
    student = step.student
    if not isinstance(student, SequenceBackbone):
        return ()
    begun: list[tuple[int, int]] = []  # tokens and bytes held, where a block begins
    live = Live(step.known())
    with ExitStack() as stack:
        for block in student.blocks():
            first = next(block.children())  # the walk calls a block's parts, not the block
            hook = first.register_forward_pre_hook(
                lambda _, args: begun.append((args[0].shape[1], live.held))
            )
            stack.callback(hook.remove)
        stack.enter_context(step.as_on_device())
        stack.enter_context(live)
        output = student(step.images) if step.loss else student.backbone(step.images)
        ends = [held for _, held in begun[1:]] + [live.held]
        del output
    return tuple(Block(tokens, end - held) for (tokens, held), end in zip(begun, ends, strict=True))


def _bytes(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)
