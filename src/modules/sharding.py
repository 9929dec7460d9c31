"""Shards the weights of student, teacher and loss among processes (FSDP2)."""

from __future__ import annotations

import copy
import warnings
from typing import TYPE_CHECKING

import lightning as L
from lightning.pytorch.callbacks import WeightAveraging
from lightning.pytorch.strategies import ModelParallelStrategy
from torch import nn
from typing_extensions import override

from ..errors import InputError
from ..lightning_internals import share_among_all
from ..measure.complexity import copy_to_meta
from .backbones.base import SparseBackbone
from .backbones.vit import TimmViT

if TYPE_CHECKING:
    from torch.distributed.device_mesh import DeviceMesh

    from .base import SparseModule


class Sharded(ModelParallelStrategy):
    """Gives each process an equal share of weights, gradients and optimizer state.

    Weights are gathered when they are needed: those of plain transformers block by block, those of
    other networks all at once. Checkpoints are single files, as without sharding.
    """

    def __init__(self) -> None:
        """Shard among all processes of all machines."""
        super().__init__(tensor_parallel_size=1, save_distributed_checkpoint=False)

    @override
    def setup_environment(self) -> None:
        share_among_all(self)
        super().setup_environment()

    @override
    def setup(self, trainer: L.Trainer) -> None:
        if any(isinstance(callback, WeightAveraging) for callback in trainer.callbacks):  # type: ignore[attr-defined]
            raise InputError(
                "callbacks.ema cannot average weights that are sharded: choose trainer=ddp, or "
                "callbacks=default."
            )
        super().setup(trainer)

    def shard(self, module: SparseModule) -> None:
        """Shard what `module` trains, and its teacher; repeated calls change nothing.

        Raises:
            InputError: If it has a head beside the student, or a compiled teacher.
        """
        if module.head is not None:
            raise InputError(
                "trainer=fsdp shards a student without a head beside it: choose trainer=ddp for "
                "this task."
            )
        if is_sharded(module.student):
            return
        # The walk adds to what modules return and never changes it in place.
        warnings.filterwarnings("ignore", message="FSDP2-wrapped module .* returned a view tensor")
        module.plain_student = (copy_to_meta(module.student),)
        mesh = self.device_mesh["data_parallel"]
        _shard(module.student, mesh)
        if any(True for _ in module.loss.parameters()):
            _shard_at_once(module.loss, mesh)
        if module.teacher is not None:
            module.teacher.shard(lambda student: _shard(student, mesh))


def is_sharded(network: nn.Module) -> bool:
    """Return whether each process holds only a share of the weights."""
    from torch.distributed.fsdp import FSDPModule

    return isinstance(network, FSDPModule)


def gathered_student(module: SparseModule) -> SparseBackbone:
    """Return the student with all its weights, which all processes must ask for together.

    Where the weights are sharded it is a copy on the CPU, complete in the first process alone.
    """
    if not is_sharded(module.student):
        return module.student
    from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict

    options = StateDictOptions(full_state_dict=True, cpu_offload=True)
    weights = get_model_state_dict(module.student, options=options)
    (plain,) = module.plain_student
    gathered = copy.deepcopy(plain)
    if module.trainer.is_global_zero:
        gathered.load_state_dict(weights, assign=True)
    return gathered


def uncounted_student(module: SparseModule) -> SparseBackbone:
    """Return the student, or a copy without values where its weights are sharded."""
    return module.plain_student[0] if is_sharded(module.student) else module.student


def units_of(student: nn.Module) -> list[list[nn.Module]]:
    """Return the modules that are gathered together, for each block of a plain transformer.

    The walk calls a block's parts and not the block, and weights are gathered where a module is
    called: so a unit is a block's innermost modules. Families whose attention reads weights without
    calling the modules that hold them have no units.
    """
    if not isinstance(student, TimmViT):
        return []
    return [
        [part for part in block.modules() if any(True for _ in part.parameters(recurse=False))]
        for block in student.blocks()
    ]


def _shard(student: nn.Module, mesh: DeviceMesh) -> None:
    from torch.distributed.fsdp import fully_shard

    for unit in units_of(student):
        fully_shard(unit, mesh=mesh, reshard_after_forward=True)
    _shard_at_once(student, mesh)


def _shard_at_once(network: nn.Module, mesh: DeviceMesh) -> None:
    from torch.distributed.fsdp import fully_shard

    fully_shard(network, mesh=mesh, reshard_after_forward=True)
