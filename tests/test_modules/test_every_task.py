"""Every task of `conf/task` trains and validates for a step, and logs what it declares."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from omegaconf import OmegaConf

from src.config import instantiate
from src.modules.base import SparseModule
from src.runs.settings import check_target
from tests.test_configs import composed, names


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", names("task"))
def test_a_step_of_training_and_validation(name: str, tmp_path: Path) -> None:
    words = [f"task={name}", "debug=smoke"]
    if composed("train", *words).backbone == composed("train").backbone:  # it names none
        words.append("backbone=vit_micro")
    settings: Any = OmegaConf.to_container(composed("train", *words), resolve=True)
    data = instantiate(settings["datamodule"])
    data.check()
    module: SparseModule = instantiate(settings["task"], num_classes=data.num_classes)
    check_target(module, data)
    module.check_trainable()
    assert module.judged_by.name in module.metric_names()
    assert settings["monitor"] in module.validation_metrics()
    before = {key: value.clone() for key, value in module.student.named_parameters()}
    trainer = L.Trainer(
        max_epochs=1,
        limit_train_batches=1,
        limit_val_batches=1,
        num_sanity_val_steps=0,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
    )
    trainer.fit(module, data)
    assert set(module.validation_metrics()) <= set(trainer.callback_metrics)
    assert trainer.callback_metrics["train/loss"].isfinite()
    after = dict(module.student.named_parameters())
    assert any(not torch.equal(before[key], after[key]) for key in before)
