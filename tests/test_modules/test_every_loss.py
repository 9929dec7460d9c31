"""Every loss of `conf/loss` trains: each term is a finite scalar from which parameters learn."""

from __future__ import annotations

from functools import cache
from typing import Any

import lightning as L
import pytest
import torch
from torch import Tensor

from src.config import CONF, compose_config, instantiate
from src.datamodules.base import ImageDataModule
from src.modules.base import SparseModule
from src.modules.teacher import Teacher
from src.modules.weighted_loss import build_loss

LOSSES = sorted(path.stem for path in (CONF / "loss").glob("*.yaml"))
TASKS = sorted(path.stem for path in (CONF / "task").glob("*.yaml"))
METHODS = ("dynamicvit", "query_absorb")  # that draw their masks, and that learn by summaries
WITH_TOKEN_CLASSES = [
    "backbone=lvvit_s",
    "backbone.image_size=64",
    "+backbone.options.depth=4",
    "+backbone.options.embed_dim=96",
    "backbone.locations=[1,2]",
]


def terms_of(*words: str) -> dict[str, dict[str, Any]]:
    terms: dict[str, dict[str, Any]] = compose_config(words, ["loss"])["loss"]
    return terms


@cache
def task_of(loss: str) -> str:
    """Return the task whose own loss starts with the same term."""
    first = next(iter(terms_of(f"loss={loss}").values()))["_target_"]
    own = {task: next(iter(terms_of(f"task={task}").values()))["_target_"] for task in TASKS}
    return next(task for task, target in own.items() if target == first)


def parts_of(loss: str, method: str) -> tuple[SparseModule, ImageDataModule]:
    """Build task and data, with every term of the loss weighted 1."""
    terms = terms_of(f"loss={loss}")
    of_tokens = build_loss(terms).needs_token_logits
    words = [*(WITH_TOKEN_CLASSES if of_tokens else ["backbone=vit_micro"]), "rho=0.5"]
    words += [f"task={task_of(loss)}", f"loss={loss}", f"method={method}", "debug=smoke"]
    words += [f"loss.{name}.weight=1" for name in terms]
    settings = compose_config(words, ["task", "datamodule"])
    data: ImageDataModule = instantiate(settings["datamodule"])
    data.setup("fit")
    module: SparseModule = instantiate(settings["task"], num_classes=data.num_classes)
    return module.train(), data


def learns(value: Tensor, module: SparseModule) -> bool:
    parameters = [one for one in module.parameters() if one.requires_grad]
    found = torch.autograd.grad(value, parameters, allow_unused=True, retain_graph=True)
    gradients = [one for one in found if one is not None]
    return all(bool(one.isfinite().all()) for one in gradients) and any(map(torch.any, gradients))


@pytest.mark.parametrize("loss", LOSSES)
def test_every_term_is_a_finite_scalar_with_a_gradient(loss: str) -> None:
    left = set(terms_of(f"loss={loss}"))
    for method in METHODS:
        if not left:
            break
        module, data = parts_of(loss, method)
        images, target = module.images_and_target(next(iter(data.train_dataloader())))
        module.trainer = L.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
        module.trainer.datamodule = data
        module.setup("fit")
        output = module(images, target)
        if module.teacher is None:
            module.teacher = Teacher(module.teaching())
        total, values = module.loss(output, module.teacher(images), target)
        torch.testing.assert_close(total, torch.stack(list(values.values())).sum())
        for name in left & values.keys():
            value = values[name]
            assert value.shape == ()
            assert value.isfinite()
            assert learns(value, module), f"nothing learns from {name} with {method}"
        left -= values.keys()
    assert not left, f"no method learns from {left}"
