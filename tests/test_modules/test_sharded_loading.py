"""A training whose weights are sharded goes on with an optimizer state that one process saved."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
from torch.optim import AdamW

from src.lightning_internals import load_shares
from src.modules.sharding import Sharded, load_optimizer


@pytest.fixture
def group(tmp_path: Path) -> Iterator[None]:
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/group", rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def make(*, frozen: bool = False) -> tuple[nn.Linear, AdamW]:
    """Biases come first in the optimizer, as decayed parameters do not, and last in the module."""
    network = nn.Linear(3, 4)
    optimizer = AdamW([{"params": [network.bias]}, {"params": [network.weight]}], lr=0.1)
    network.weight.requires_grad_(not frozen)
    return network, optimizer


@pytest.mark.parametrize("frozen", [False, True])
def test_a_state_is_found_by_its_place_in_the_optimizer(group: None, frozen: bool) -> None:
    network, optimizer = make()
    network(torch.rand(2, 3)).square().sum().backward()
    optimizer.step()
    saved = optimizer.state_dict()
    saved["param_groups"][0]["lr"] = 0.5

    again, _ = make(frozen=frozen)
    fully_shard(again, mesh=init_device_mesh("cpu", (1,)))
    sharded = AdamW([{"params": [again.bias]}, {"params": [again.weight]}], lr=0.1)
    load_optimizer(sharded, saved)
    assert [group["lr"] for group in sharded.param_groups] == [0.5, 0.1]
    for name, parameter in again.named_parameters():
        state, expected = sharded.state[parameter], optimizer.state[network.get_parameter(name)]
        assert state["step"] == 1
        assert isinstance(state["exp_avg"], DTensor)
        for kind in ("exp_avg", "exp_avg_sq"):
            assert torch.equal(state[kind].full_tensor(), expected[kind])


def test_weights_of_one_process_are_shared(group: None, monkeypatch: pytest.MonkeyPatch) -> None:
    import lightning as L

    network, _ = make()
    module = L.LightningModule()
    module.student, _ = make()
    fully_shard(module.student, mesh=init_device_mesh("cpu", (1,)))
    strategy = Sharded()
    strategy.connect(module)
    load_shares(strategy, {f"student.{k}": v for k, v in network.state_dict().items()})
    assert torch.equal(module.student.weight.full_tensor(), network.weight)
