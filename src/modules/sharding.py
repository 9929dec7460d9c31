"""Shards the weights of student, teacher and loss among processes (FSDP2)."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lightning as L
from lightning.pytorch.callbacks import WeightAveraging
from lightning.pytorch.strategies import ModelParallelStrategy
from torch import Tensor, nn
from torch.optim import Optimizer
from typing_extensions import override

from ..checkpoints.checkpoint import taken
from ..errors import InputError
from ..lightning_internals import load_shares, share_among_all
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

    @override
    def load_checkpoint(
        self, checkpoint_path: str | Path, weights_only: bool | None = None
    ) -> dict[str, Any]:
        content: dict[str, Any] = dict(taken(self.broadcast(checkpoint_path)).content)
        load_shares(self, content.pop("state_dict"))
        for optimizer, state in zip(self.optimizers, content["optimizer_states"], strict=True):
            load_optimizer(optimizer, state)
        return content

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
    """Return for each block of a plain transformer the modules whose weights are gathered together.

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


def load_optimizer(optimizer: Optimizer, saved: Mapping[str, Any]) -> None:
    """Load an optimizer's state, saved by any number of processes in the order of its parameters.

    torch's `set_optimizer_state_dict` goes by the module's order, in which sharded processes number
    parameters and a single one does not, and drops the state of parameters that are still frozen.
    """
    own = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    numbers = [number for group in saved["param_groups"] for number in group["params"]]
    state = {
        number: {
            name: _share_like(parameter, value) for name, value in saved["state"][number].items()
        }
        for number, parameter in zip(numbers, own, strict=True)
        if number in saved["state"]
    }
    optimizer.load_state_dict({"state": state, "param_groups": saved["param_groups"]})


def _share_like(parameter: nn.Parameter, value: Any) -> Any:
    """Return this process's share of a tensor as large as a sharded parameter; else the value."""
    from torch.distributed.tensor import DTensor, distribute_tensor

    data = parameter.data
    if not (isinstance(data, DTensor) and isinstance(value, Tensor) and value.shape == data.shape):
        return value
    return distribute_tensor(value.to(data.device), data.device_mesh, data.placements)


def _shard(student: nn.Module, mesh: DeviceMesh) -> None:
    from torch.distributed.fsdp import fully_shard

    for unit in units_of(student):
        fully_shard(unit, mesh=mesh, reshard_after_forward=True)
    _shard_at_once(student, mesh)


def _shard_at_once(network: nn.Module, mesh: DeviceMesh) -> None:
    from torch.distributed.fsdp import fully_shard

    fully_shard(network, mesh=mesh, reshard_after_forward=True)
