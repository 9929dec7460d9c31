"""Other runtimes compute what the exported files say: OpenVINO and ExecuTorch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from src.export.calibrated import Calibrated
from src.export.graph import export, load
from src.modules.backbones import SparseBackbone
from tests.combinations import make_student, shaken
from tests.test_export.test_select import LOOK_UPS, assert_without_look_ups

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


@pytest.fixture(scope="module")
def student() -> SparseBackbone:
    torch.manual_seed(0)
    return shaken(make_student("vit", "query_absorb", depth=2), by=0.05).eval()


@pytest.fixture(scope="module")
def files(student: SparseBackbone, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return the student's ONNX files, by how they select."""
    pytest.importorskip("onnxscript")
    folder = tmp_path_factory.mktemp("files")
    paths = {select: folder / f"{select}.onnx" for select in ("topk", "matmul")}
    for select, path in paths.items():
        export(student, path, 64, select=select)
    return paths


def test_no_look_ups_in_the_file(student: SparseBackbone, files: dict[str, Path]) -> None:
    assert_without_look_ups(files["matmul"], student)


def test_the_usual_file_has_look_ups(files: dict[str, Path]) -> None:
    onnx = pytest.importorskip("onnx")
    model = onnx.load(files["topk"])
    assert [n.op_type for n in model.graph.node if n.op_type.startswith(LOOK_UPS)]
    kinds = {each.type.tensor_type.elem_type for each in model.graph.value_info}
    assert onnx.TensorProto.INT64 in kinds


def in_openvino(path: Path, images: Tensor) -> NDArray[np.float32]:
    openvino = pytest.importorskip("openvino")
    core = openvino.Core()
    exact = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
    network = core.compile_model(core.read_model(path), "CPU", exact)
    logits: NDArray[np.float32] = network(images.numpy())[0]
    return logits


@pytest.mark.parametrize("select", ["topk", "matmul"])
def test_openvino_in_float_and_in_8_bits(
    select: str, files: dict[str, Path], tmp_path: Path
) -> None:
    pytest.importorskip("openvino")
    pytest.importorskip("onnxruntime")
    images = torch.randn(24, 3, 64, 64)
    path, small = files[select], tmp_path / "student_int8.onnx"
    wanted = load(path)(images)[0].numpy()
    found = in_openvino(path, images)
    assert np.abs(found - wanted).max() < 1e-4
    assert (found.argmax(1) == wanted.argmax(1)).all()
    Calibrated(path, images, ["student.method.selector"]).write(small)
    rounded = load(small)(images)[0].numpy()
    found = in_openvino(small, images)
    assert np.abs(found - rounded).max() < 0.1  # the logits' standard deviation is 0.4
    assert (found.argmax(1) == rounded.argmax(1)).mean() > 0.9


def test_a_program_and_executorch(student: SparseBackbone, tmp_path: Path) -> None:
    images = torch.randn(5, 3, 64, 64)
    wanted = student(images).logits
    export(student, tmp_path / "student.pt2", 64, select="matmul")
    (logits,) = load(tmp_path / "student.pt2")(images)
    assert (logits - wanted).abs().max() < 1e-5
    runtime = pytest.importorskip("executorch.runtime")
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower

    program = torch.export.load(tmp_path / "student.pt2")
    lowered = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()])
    (tmp_path / "student.pte").write_bytes(lowered.to_executorch().buffer)
    method = runtime.Runtime.get().load_program(tmp_path / "student.pte").load_method("forward")
    for batch in (2, 5):
        (logits,) = method.execute([images[:batch]])
        assert (logits - wanted[:batch]).abs().max() < 1e-4
