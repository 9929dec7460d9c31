"""Segmentations as files: the mask of the student, from a plain script and from `predict`."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from src.checkpoints.checkpoint import Checkpoint
from src.config import compose_config
from src.errors import InputError
from src.export.check import export_and_check
from src.export.graph import Deployed, export, largest_difference, load
from src.export.networks import Network, build, student_of
from src.modules.heads.base import WholeNetwork
from src.predictions.base import Options, Predicted
from src.predictions.masks import MaskFolder
from src.predictions.onnx import OnnxStudent
from tests.combinations import shaken

WORDS = ("head.channels=32", "backbone.weights=null")
SMALL = ("backbone=vit_micro", "+backbone.options.depth=2", "backbone.locations=[1]")
SWIN = ("backbone=swin_micro", "backbone.options.depths=[1,1,2]", "backbone.locations=[1]")
PARTS = ("task", "backbone", "method", "schedule", "datamodule")
REST = {
    "survivors": False,
    "select": "topk",
    "int8": False,
    "calibration_images": 128,
    "keep_float": "auto",
    "check_batches": [1, 5],
    "throughput_batch": 1,
}


def settings(*words: str) -> dict[str, Any]:
    return {**compose_config([*WORDS, *words], PARTS), **REST, "file": "scenes.onnx"}


def made(asked: dict[str, Any]) -> tuple[Network, int]:
    torch.manual_seed(0)
    network, side = build(asked, None)
    return shaken(network, by=0.05).eval(), side


def test_a_saved_network_keeps_how_images_are_prepared(tmp_path: Path) -> None:
    asked = settings(*SMALL, "task=segmentation")
    network, side = build(asked, None)
    assert isinstance(network, WholeNetwork)
    ready = replace(network.student.preprocessing, mean=(0.4, 0.4, 0.4), std=(0.2, 0.2, 0.2))
    network.student.preprocessing = ready
    network.save(tmp_path / "whole.safetensors")
    again, _ = build(asked, Checkpoint.read(tmp_path / "whole.safetensors"))
    assert student_of(again).preprocessing == ready
    assert ready.size == (side, side)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_plain_script_and_predict_give_the_student_s_mask(tmp_path: Path, monkeypatch) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    path = tmp_path / "scenes.onnx"
    asked = settings(*SMALL, "task=segmentation", "method=query_absorb", "rho=0.7")
    asked["file"] = str(path)
    network, side = made(asked)
    monkeypatch.setattr("src.export.check.build", lambda *_: (network, side))
    rows, _ = export_and_check(asked)
    assert rows[1]["difference_batch_5"] < 1e-3
    images = torch.randn(3, 3, side, side)
    with torch.no_grad():
        mask = network(images).logits.argmax(dim=1)
    assert len(mask.unique()) > 1
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (logits,) = session.run(None, {"images": images.numpy()})
    assert logits.shape == (3, 11, side, side)
    assert (logits.argmax(axis=1) == mask.numpy()).mean() > 0.999
    said = json.loads(path.with_suffix(".json").read_text())
    assert len(said["class_names"]) == 11
    assert said["preprocessing"]["size"] == [side, side]
    student = OnnxStudent(path)
    assert student.task == "segmentation"
    with MaskFolder(tmp_path / "masks", Options(student.class_names)) as masks:
        masks.write([Predicted("a.jpg", (side, side), (side, side))], student(images[:1]))
    written = np.asarray(Image.open(tmp_path / "masks" / "a.png"))
    assert (written == mask[0].numpy()).mean() > 0.999


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_upernet_on_maps_of_several_strides(tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    pytest.importorskip("onnxruntime")
    network, _ = made(settings("task=segmentation", "head=upernet", *SWIN))
    export(network, tmp_path / "scenes.onnx", 64)
    run = load(tmp_path / "scenes.onnx")
    assert largest_difference(Deployed(network), run, 64, 3) < 1e-3


@pytest.mark.parametrize("sizes", [[0], [], [1, 4097], [1.5], [True], 5, None])
def test_batches_that_are_none_are_refused_before_anything_is_written(
    sizes: object, tmp_path: Path
) -> None:
    asked = settings("task=segmentation") | {"check_batches": sizes, "file": tmp_path / "a.onnx"}
    with pytest.raises(InputError, match=r"^check_batches=.* whole numbers from 1 to 4096, as "):
        export_and_check(asked)
    assert not any(tmp_path.iterdir())


def test_detectors_are_refused_by_what_they_say() -> None:
    with pytest.raises(InputError, match="RetinaNet cannot be exported: how many boxes"):
        build(settings("task=detection", "backbone=swin_micro"), None)
