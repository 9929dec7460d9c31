"""What a training leaves says what its outputs mean, and what it was validated with."""

from __future__ import annotations

import lightning as L
import pytest
import torch

from src import create_student, load
from src.callbacks.run_record import RunRecord
from src.callbacks.saved_student import SavedStudent
from src.config import compose_config, instantiate
from src.modules.backbones import SparseBackbone
from src.modules.heads.base import WholeNetwork
from tests.test_modules.test_dense_tasks import make_data, make_trainer

pytestmark = pytest.mark.slow
WORDS = ["backbone=vit_micro", "backbone.weights=null", "method=evit", "loss=classification"]


@pytest.mark.filterwarnings("ignore")
def test_a_classifier_is_saved_when_its_training_ends(tmp_path):
    words = [*WORDS, "datamodule.train_images=8", "datamodule.val_images=8"]
    words += ["datamodule.batch_size=4", "datamodule.num_workers=0"]
    config = compose_config(words, ["task", "datamodule"])
    module = instantiate(config["task"], num_classes=10)
    data = instantiate(config["datamodule"])
    record = RunRecord({}, {"backbone": "vit_micro"})
    trainer = make_trainer(tmp_path, SavedStudent(f"{tmp_path}/student.safetensors"), record)
    trainer.fit(module, data)
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    again = load(tmp_path / "student.safetensors")
    assert isinstance(again, SparseBackbone)
    images = torch.randn(1, 3, 80, 80)
    assert torch.equal(again.predict(images), module.student.predict(images))
    assert again.preprocessing == data.preprocessing
    assert again.class_names == data.class_names
    assert {"acc1", "gmacs"} <= again.metrics.keys()
    filled = create_student("vit_micro", method="evit", weights=tmp_path / "a.ckpt")
    assert filled.preprocessing == data.preprocessing
    assert filled.class_names == data.class_names


@pytest.mark.filterwarnings("ignore")
def test_a_segmenter_is_saved_with_its_head(tmp_path):
    words = ["backbone=vit_micro", "backbone.weights=null", "method=evit", "head.channels=32"]
    config = compose_config(["task=segmentation", "head=semantic_fpn", *words], ["task"])
    module = instantiate(config["task"], num_classes=11)
    trainer: L.Trainer = make_trainer(tmp_path, SavedStudent(f"{tmp_path}/a.safetensors"))
    data = make_data()
    trainer.fit(module, data)
    again = load(tmp_path / "a.safetensors")
    assert isinstance(again, WholeNetwork)
    assert again.student.class_names == data.class_names
    images = torch.randn(1, 3, 80, 80)
    with torch.no_grad():
        assert torch.equal(again(images).logits, module.eval()(images).logits)
