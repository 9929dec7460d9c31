"""Swin that skips windows: against timm's dense blocks, from which the windows are taken."""

from __future__ import annotations

import pytest
import timm
import torch
from torch import nn

from src.errors import InputError
from src.modules import create_student, sparsify
from src.modules.layers.windows import PADDING, WindowScores, partition
from src.modules.schedules import arithmetic
from tests.test_modules.test_spatial import CASES, Case, make_images, make_network

SMALL = {"embed_dim": 16, "depths": (1, 1, 6, 1), "num_heads": (1, 2, 4, 8), "num_classes": 7}
V1, V2 = "swin_tiny_patch4_window7_224", "swinv2_tiny_window8_256"
SWINS = {
    "v1": Case(V1, SMALL | {"img_size": 128, "window_size": 4}, 128, 64),
    "v2": Case(V2, SMALL | {"img_size": 128, "window_size": 4}, 128, 64),
    "rectangular": Case(V1, SMALL | {"img_size": 128, "window_size": (2, 4)}, 128, 64),
    "padded": Case(
        V1, SMALL | {"img_size": 96, "window_size": 4, "strict_img_size": False}, 96, 36
    ),
    "padded_v2": Case(
        V2, SMALL | {"img_size": 96, "window_size": 4, "strict_img_size": False}, 96, 36
    ),
}


@pytest.fixture(params=SWINS, name="case")
def _case(request):
    return SWINS[request.param]


def make_student(network: nn.Module, method: str = "windows", **options):
    student = sparsify(network, method=method, **options)
    for parameter in student.method.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    return student.eval()


def test_partition_is_timms_with_its_roll_and_padding() -> None:
    windows = partition((3, 4), (2, 2), (1, 1), torch.device("cpu"))
    assert windows.tolist() == [
        [5, 6, 9, 10],
        [7, 4, 11, 8],
        [1, 2, PADDING, PADDING],
        [3, 0, PADDING, PADDING],
    ]


def test_windows_score_the_mean_of_their_positions() -> None:
    windows = partition((3, 4), (2, 2), (1, 1), torch.device("cpu"))
    score = torch.zeros(2, 12)
    score[0, [1, 2]] = 1.0  # the third window's two positions
    score[1, [7, 4, 11]] = 0.5
    kept = WindowScores(score, 0.3).among(windows)
    assert kept.count == 1
    assert kept.kept.tolist() == [[2], [1]]
    assert kept.decision[0].nonzero().flatten().tolist() == [1, 2]
    assert kept.decision[1].nonzero().flatten().tolist() == [4, 7, 8, 11]
    assert WindowScores(score, 0.7).among(windows).count == 3
    assert WindowScores(score, 0.01).among(windows).count == 1


@pytest.mark.parametrize("fast_path", ["identity", "linear"])
@torch.no_grad()
def test_computed_windows_are_the_dense_blocks(case, fast_path) -> None:
    """Windows do not see each other: a block on some equals the dense block there."""
    student = make_student(make_network(case), fast_path=fast_path)
    images = make_images(case, 3)
    x = student.stem(images)
    for stage in list(student.stages())[:2]:
        x = stage(x)
    stage = list(student.stages())[2]
    x = stage.downsample(x)
    score = None
    shares = set()
    for layer, block in enumerate(stage.blocks):
        decided = student.method.route(layer, student.positions(x))
        score = decided or score
        dense = block(x)
        if score is None:
            x = dense
            continue
        keep = score.among(student.windows(block, x)).decision  # (B, N)
        shares.add(keep.mean().item())
        rows = student.positions(x)
        passed = rows + student.method.fast(layer, rows)
        chosen = torch.where(keep.bool().unsqueeze(-1), student.positions(dense), passed)
        x = chosen.view_as(x)
    for stage in list(student.stages())[3:]:
        x = stage(x)
    output = student(images)
    expected, _ = student.tail(x)
    torch.testing.assert_close(output.logits, expected, atol=1e-4, rtol=1e-4)
    assert max(shares) < 1
    assert (output.logits - student.backbone(images)).abs().max() > 1e-3


@pytest.mark.parametrize("method", ["windows", "query_windows"])
@torch.no_grad()
def test_rho_one_is_dense_bit_for_bit(case, method) -> None:
    network = make_network(case)
    images = make_images(case)
    student = make_student(network, method, ratios=[1.0, 1.0, 1.0])
    assert torch.equal(student(images).logits, network(images))


def test_every_parameter_gets_a_gradient(case) -> None:
    student = make_student(make_network(case), "query_windows").train()
    output = student(make_images(case))
    learned = sum(summary.sum() for summary in output.summaries)
    (output.logits.square().sum() + learned).backward()
    without = [n for n, p in student.named_parameters() if p.grad is None or not p.grad.any()]
    assert without == []


def test_attention_is_spared_too() -> None:
    """Each skipped window of Swin-T spares a quarter of its block, attention included."""
    with torch.device("meta"):
        network = timm.create_model("swin_tiny_patch4_window7_224")
        student = sparsify(network, method="windows", rho=0.7)
    dense = student.dense_copy().gmacs()
    linear = 12 * 384**2 * 196 / 1e9
    attention = 2 * 49 * 384 * 196 / 1e9
    skipped = 1 / 4 + 2 / 4 + 3 * 3 / 4
    assert student.gmacs() == pytest.approx(dense - skipped * (linear + attention), rel=1e-4)


def test_other_networks_and_selectors_are_refused() -> None:
    with pytest.raises(InputError, match="skips windows of attention, which ConvNeXt does not"):
        sparsify(make_network(CASES["convnext"]), method="windows")
    from src.modules.methods.selectors.predictor import MaskedPredictor

    with pytest.raises(InputError, match="MaskedPredictor cannot score windows"):
        sparsify(make_network(CASES["swin"]), method="windows", selector=MaskedPredictor)


def test_norms_run_at_any_rho_and_need_no_training() -> None:
    student = create_student("swin_micro", method="windows", image_size=160).eval()
    assert not student.method.needs_training
    images = torch.randn(1, 3, 160, 160)
    for rho, counts in ((1.0, [100, 75, 50]), (0.7, [75, 50, 25])):
        student.method.schedule = arithmetic(rho, (1, 2, 3))
        assert [int(count) for count in student(images).counts] == counts
