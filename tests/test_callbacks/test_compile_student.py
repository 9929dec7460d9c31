"""A compiled student learns what the student learns, and is itself again for all else."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import lightning as L
import pytest
import torch
from omegaconf import OmegaConf

from src.callbacks.compile_student import CompileStudent
from src.config import instantiate
from src.errors import InputError
from tests.helpers import SHALLOW
from tests.test_configs import composed


def trained(callbacks: list[L.Callback], tmp_path: Any) -> tuple[list[torch.Tensor], Any]:
    settings: Any = OmegaConf.to_container(composed("train", "debug=smoke", *SHALLOW), resolve=True)
    L.seed_everything(0)
    module = instantiate(settings["task"], num_classes=10)
    trainer = L.Trainer(
        max_epochs=1,
        limit_train_batches=2,
        limit_val_batches=1,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=callbacks,
        default_root_dir=tmp_path,
    )
    trainer.fit(module, instantiate(settings["datamodule"]))
    return [p.detach() for p in module.parameters()], module


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_compiled_student_learns_the_same(tmp_path):
    calls = []

    def backend(graph, inputs):
        calls.append(len(inputs))
        return graph.forward

    torch._dynamo.reset()
    plain, _ = trained([], tmp_path)
    compiled, module = trained([CompileStudent(backend=backend)], tmp_path)
    assert calls
    assert "forward" not in vars(module.student)
    torch.testing.assert_close(compiled, plain, atol=1e-5, rtol=1e-5)


def test_a_head_on_the_maps_is_refused():
    module = SimpleNamespace(head=object(), student=None)
    with pytest.raises(InputError, match="without a head on their maps"):
        CompileStudent().on_train_start(None, module)


def test_graphs_are_refused_where_gradients_add_up_over_batches():
    trainer, module = SimpleNamespace(accumulate_grad_batches=4), SimpleNamespace(head=None)
    with pytest.raises(InputError, match=r"mode=reduce-overhead .*accumulate_grad_batches=4"):
        CompileStudent(mode="reduce-overhead").on_train_start(trainer, module)
