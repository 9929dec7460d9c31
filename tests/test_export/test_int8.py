"""Files in 8 bits: what stays in float, what is measured, and what the shipped file holds."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from src.errors import InputError
from src.export.agreement import agreement, overlaps
from src.export.calibrated import Calibrated
from src.export.files import Int8, Variant, int8_kinds, write_all
from src.export.graph import load
from src.export.layers import linear_layers
from src.export.report import Row, scored, timed
from src.measure.processor import instruction_set, saturates
from tests.combinations import make_student, shaken

SETTINGS = {"int8": "both", "calibration_images": 64, "keep_float": "auto", "file": "a.onnx"}


class Data:
    """A data module of noise."""

    present_classes = None

    def setup(self, stage: str) -> None:
        torch.manual_seed(2)

    def test_dataloader(self) -> list[tuple[Tensor, Tensor]]:
        return [(torch.randn(8, 3, 64, 64), torch.zeros(8, dtype=torch.long))]


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Variant], list[Row]]:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("int8")
    student = shaken(make_student("vit", "query_absorb", depth=3), by=0.05).eval()
    variants = write_all(
        student,
        folder / "student.onnx",
        folder / "others",
        64,
        survivors=False,
        described={"class_names": ["a"]},
        int8=Int8(("dynamic", "static"), 2, torch.randn(32, 3, 64, 64)),
    )
    rows = timed(variants, (2, 3, 64, 64))
    scores, number = scored(variants, Data(), 3)
    assert number == 8
    return folder, variants, [row | score for row, score in zip(rows, scores, strict=True)]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_all_files_are_measured_side_by_side(exported) -> None:
    _, _, rows = exported
    bits = ("fp32", "int8 dynamic", "int8 static")
    assert [(row["bits"], row["network"]) for row in rows] == [
        (each, network) for each in bits for network in ("dense", "sparse")
    ]
    assert rows[0]["speedup"] == 1
    for dense, sparse in zip(rows[2::2], rows[3::2], strict=True):
        assert dense["speedup_same_bits"] == 1
        assert "of_product" in sparse
        assert "of_product" not in dense
        for row in (dense, sparse):
            assert (
                row["megabytes"] < 0.7 * rows[0]["megabytes"]
            )  # a small file has much of its graph
            assert row["latency_p50_ms"] <= row["latency_p95_ms"]
            assert row["peak_megabytes"] > 0
            assert row["same_class"] >= 0.75
            assert 0 <= row["kl"] < 0.05
        assert all(share > 0.8 for share in sparse["kept_overlap"])
        assert len(sparse["kept_overlap"]) == 2
    assert [len(row["float_layers"]) for row in rows[2:]] == [0, 0, 2, 2]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_the_shipped_file_has_logits_alone_and_its_description(exported) -> None:
    onnx = pytest.importorskip("onnx")
    folder, variants, _ = exported
    images = torch.randn(3, 3, 64, 64)
    for variant in variants[3::2]:
        assert variant.path.parent == folder
        model = onnx.load(variant.path)
        assert [output.name for output in model.graph.output] == ["logits"]
        assert {entry.key for entry in model.metadata_props} >= {"class_names"}
        (logits,) = load(variant.path)(images)
        assert torch.equal(logits, load(variant.watched)(images)[0])


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_selectors_stay_in_float_and_smoothing_changes_nothing(exported, tmp_path) -> None:
    onnx = pytest.importorskip("onnx")
    _, variants, _ = exported
    path = variants[1].path
    scorer = "student.method.selector"
    layers = linear_layers(onnx.load(path), [scorer], ("MatMul", "Gemm", "Conv"))
    assert len(layers) == 2 + 4 * 3  # patches, head; and each block's four
    images = torch.randn(32, 3, 64, 64)
    calibrated = Calibrated(path, images, [scorer])
    assert calibrated.layers == layers
    assert "blocks.0.mlp.fc1" in calibrated.names.values()
    earlier = [calibrated.names[layer] for layer in calibrated.before_selection()]
    assert all(name.startswith(("patch_embed", "blocks.0.")) for name in earlier)
    assert len(earlier) == 1 + 4  # the first of two locations is block 1
    calibrated.write(tmp_path / "float.onnx", layers)
    before, after = load(path)(images)[0], load(tmp_path / "float.onnx")(images)[0]
    assert 0 < (before - after).abs().max() < 1e-4
    quantized = onnx.load(variants[5].path)
    rounded = [node for node in quantized.graph.node if node.op_type == "QuantizeLinear"]
    assert len(layers) - 4 <= len(rounded) <= len(layers) - 2  # one input each; two in float


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_scores_are_those_at_the_given_batch_size(exported) -> None:
    _, variants, rows = exported
    data = Data()
    data.setup("test")
    ((images, _),) = data.test_dataloader()

    def kl(number: int, batch: int) -> float:
        runs = [load(variants[each].path) for each in (1, number)]
        logits = [torch.cat([run(part)[0] for part in images.split(batch)]) for run in runs]
        return agreement(*logits).kl

    for number in (3, 5):
        assert rows[number]["kl"] == pytest.approx(kl(number, 3), rel=1e-6)
    assert rows[3]["kl"] != pytest.approx(kl(3, 8), rel=1e-3)  # ranges are those of the batch


def test_agreement_and_overlap() -> None:
    logits = torch.tensor([[2.0, 0.0], [0.0, 1.0]])
    assert agreement(logits, logits).same == 1
    assert agreement(logits, logits).kl == pytest.approx(0)
    other = agreement(logits, torch.tensor([[2.0, 0.0], [1.0, 0.0]]))
    assert other.same == 0.5
    assert other.kl == pytest.approx((1 / (1 + 2.71828) * -1 + 2.71828 / 3.71828) / 2, abs=1e-4)
    kept = torch.tensor([[[1.0, 1, 0, 0], [1, 0, 0, 0]]])
    assert overlaps(kept, torch.tensor([[[1.0, 0, 1, 0], [1, 0, 0, 0]]])) == [0.5, 1.0]


def test_instruction_sets(tmp_path) -> None:
    flags = tmp_path / "cpuinfo"
    flags.write_text("flags : fpu avx2 avx512bw avx512_vnni\n")
    assert instruction_set(flags) == "avx512_vnni"
    flags.write_text("flags : fpu avx2\n")
    assert instruction_set(flags) == "avx2"
    assert [saturates(name) for name in ("avx2", "avx_vnni", "arm64", "asimddp", "x86_64")] == [
        True,
        False,
        False,
        False,
        True,
    ]


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ({"int8": "weights"}, "int8=weights must be false, dynamic, static or both"),
        ({"calibration_images": 8}, "calibration_images=8 is not a whole number from 32 to 512"),
        ({"keep_float": -1}, "keep_float=-1 is neither auto nor a whole number from 0"),
        ({"file": "a.pt2"}, "int8=both writes ONNX, and file=a.pt2"),
    ],
)
def test_wrong_settings_are_named(setting, said) -> None:
    with pytest.raises(InputError, match=said):
        int8_kinds(SETTINGS | setting)


def test_true_means_dynamic() -> None:
    assert int8_kinds(SETTINGS | {"int8": True}) == ("dynamic",)
    assert int8_kinds(SETTINGS | {"int8": False, "file": "a.pt2"}) == ()
