"""Hierarchical networks: walker = timm, blended = gathered, rho 1 = dense, for each kind."""

from dataclasses import dataclass

import pytest
import timm
import torch
from torch import nn

from src.errors import InputError
from src.modules import create_student, sparsify
from src.modules.backbones import SparseBackbone
from src.modules.methods import asymmetric
from src.modules.schedules import arithmetic

SWIN = {
    "embed_dim": 16,
    "depths": (1, 1, 6, 1),
    "num_heads": (1, 2, 4, 8),
    "num_classes": 7,
    "drop_path_rate": 0.0,  # else a block may be left out for all images
}
CONVNEXT = {"dims": (8, 16, 32, 64), "depths": (1, 1, 6, 1), "num_classes": 7}


@dataclass(frozen=True)
class Case:
    network: str
    options: dict
    side: int
    positions: int


CASES = {
    "swin": Case(
        "swin_tiny_patch4_window7_224", {**SWIN, "img_size": 112, "window_size": 7}, 112, 49
    ),
    "swin_rectangular_windows": Case(
        "swin_tiny_patch4_window7_224", {**SWIN, "img_size": 128, "window_size": (4, 8)}, 128, 64
    ),
    "swin_padded": Case(
        "swin_tiny_patch4_window7_224", {**SWIN, "img_size": 96, "strict_img_size": False}, 96, 36
    ),
    "swin_v2": Case("swinv2_tiny_window8_256", {**SWIN, "img_size": 128}, 128, 64),
    "convnext": Case("convnext_tiny", CONVNEXT, 96, 36),
    "convnext_odd_size": Case("convnext_tiny", CONVNEXT, 105, 36),
    "convnext_unscaled": Case("convnext_tiny", {**CONVNEXT, "ls_init_value": None}, 96, 36),
    "convnext_conv_mlp": Case("convnext_atto", CONVNEXT, 96, 36),
    "convnext_norm_first": Case("convnext_tiny", {**CONVNEXT, "head_norm_first": True}, 96, 36),
}


@pytest.fixture(params=CASES, name="case")
def _case(request) -> Case:
    return CASES[request.param]


def make_network(case: Case) -> nn.Module:
    network = timm.create_model(case.network, **case.options)
    # Large enough that every branch counts, layer scales too.
    for parameter in network.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    return network.eval()


def make_student(network: nn.Module, **options) -> SparseBackbone:
    student = sparsify(network, **options)
    for parameter in student.method.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    return student.eval()


def make_images(case: Case, batch: int = 2) -> torch.Tensor:
    return torch.randn(batch, 3, case.side, case.side)


@torch.no_grad()
def test_without_method_it_is_timm_exactly(case):
    network = make_network(case)
    images = make_images(case)
    dense = sparsify(network, method="dense").eval()(images)
    assert torch.equal(dense.logits, network(images))
    assert dense.decisions == []


@torch.no_grad()
def test_rho_one_is_dense(case):
    network = make_network(case)
    images = make_images(case)
    student = make_student(network, ratios=[1.0, 1.0, 1.0])
    torch.testing.assert_close(student(images).logits, network(images), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("batch", [1, 2, 3])
@torch.no_grad()
def test_blended_equals_gathered(case, batch, monkeypatch):
    images = make_images(case, batch)
    student = make_student(make_network(case))
    gathered = student(images)

    decided = iter(gathered.decisions)
    monkeypatch.setattr(asymmetric, "gumbel_keep", lambda scores: next(decided))
    student.method.train()
    blended = student(images)

    assert len(gathered.decisions) == 3
    scale = gathered.logits.abs().max()
    torch.testing.assert_close(blended.logits / scale, gathered.logits / scale, atol=1e-5, rtol=0)
    torch.testing.assert_close(blended.features, gathered.features, atol=1e-4, rtol=1e-4)
    for a, b in zip(blended.decisions, gathered.decisions, strict=True):
        assert torch.equal(a, b)


@torch.no_grad()
def test_paths_differ_and_decisions_are_made_anew(case):
    """Without this the agreement above would show nothing."""
    network = make_network(case)
    images = make_images(case)
    student = make_student(network)
    output = student(images)
    assert (output.logits - network(images)).abs().max() > 1e-3
    first, second, third = output.decisions
    assert not (first * second).equal(second) or not (second * third).equal(third)


def test_every_parameter_gets_a_gradient(case):
    student = make_student(make_network(case)).train()
    output = student(make_images(case))
    (output.logits.square().sum() + sum(d.sum() for d in output.decisions)).backward()
    without = [n for n, p in student.named_parameters() if p.grad is None or not p.grad.any()]
    assert without == []
    assert all(torch.isfinite(p.grad).all() for p in student.parameters())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@torch.no_grad()
def test_low_precision_inference(case, dtype):
    images = make_images(case)
    student = make_student(make_network(case))
    exact = student(images)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = student(images)
    assert torch.isfinite(mixed.logits).all()
    assert [c.tolist() for c in mixed.counts] == [c.tolist() for c in exact.counts]
    pure = student.to(dtype)(images.to(dtype))
    assert pure.logits.dtype == dtype
    assert [c.tolist() for c in pure.counts] == [c.tolist() for c in exact.counts]


def test_training_under_autocast(case):
    student = make_student(make_network(case)).train()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = student(make_images(case))
        output.logits.float().square().sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in student.parameters() if p.grad is not None)


def test_output_has_one_shape_in_every_mode(case):
    student = make_student(make_network(case))
    images = make_images(case)
    for output in (student.train()(images), student.eval()(images)):
        assert output.logits.shape == (2, 7)
        assert [d.shape for d in output.decisions] == [(2, case.positions)] * 3
        assert [c.shape for c in output.counts] == [(2,)] * 3
        assert [step.ratio for step in output.steps] == pytest.approx((0.7, 0.5, 0.3))
        assert output.size.shape == output.features.shape[:2]
        assert torch.equal(output.size, torch.ones_like(output.size))
    assert [c.tolist() for c in output.counts] == [
        [int(ratio * case.positions + 1e-6)] * 2 for ratio in (0.7, 0.5, 0.3)
    ]


def test_the_slow_path_takes_the_top_of_the_scores():
    case = CASES["swin"]
    student = make_student(make_network(case), ratios=[0.4], locations=[2])
    images = make_images(case, 1)
    with torch.no_grad():
        x = student.stem(images)
        for stage in list(student.stages())[:2]:
            x = stage(x)
        stage = list(student.stages())[2]
        x = stage.downsample(x)
        for block in list(stage.blocks)[:2]:
            x = block(x)
        scores = student.method.predictors[0](x.flatten(1, 2))[0, :, 0]
        slow = student(images).decisions[0][0].nonzero().flatten()
    assert slow.tolist() == sorted(scores.topk(19).indices.tolist())


@pytest.mark.parametrize("fast_path", ["identity", "linear", "mlp"])
def test_fast_paths(fast_path):
    from src.config import compose_config
    from src.modules.student import attach

    config = compose_config(
        ["backbone=convnext_micro", f"method.fast_path={fast_path}"], ["method", "schedule"]
    )
    network = make_network(CASES["convnext"])
    student = attach(network, config["method"], config["schedule"])
    fast = student.method.fast_paths["3"]
    x = torch.randn(1, 5, 32)
    assert fast(x).shape == x.shape
    if fast_path == "identity":
        assert not fast(x).any()
    else:
        assert fast.gamma.tolist() == pytest.approx([1e-6] * 32)
    assert student(make_images(CASES["convnext"])).logits.shape == (2, 7)


def test_one_checkpoint_runs_at_any_rho():
    student = create_student("convnext_micro", rho=0.9).eval()
    images = torch.randn(1, 3, 80, 80)
    for rho in (1.0, 0.7, 0.5):
        student.method.schedule = arithmetic(rho, (1, 2, 3))
        counts = [int(count) for count in student(images).counts]
        assert counts == [int(25 * (rho - 0.2 * k) + 1e-6) for k in range(3)]
    student.method.schedule = arithmetic(0.7, (2, 4, 5))  # later than the first fast path
    with pytest.raises(InputError, match="starts before block 1"):
        student.method.schedule = arithmetic(0.7, (0, 2, 3))
    with pytest.raises(InputError, match="this student has 3 predictors"):
        student.method.schedule = arithmetic(0.7, (1, 2))


def test_any_ratios_are_allowed_where_positions_return():
    ratios = [0.3, 0.9, 0.5]
    student = make_student(make_network(CASES["convnext"]), ratios=ratios)
    counts = [int(c[0]) for c in student(make_images(CASES["convnext"])).counts]
    assert counts == [int(36 * r + 1e-6) for r in ratios]


@pytest.mark.parametrize(
    ("network", "locations"),
    [
        ("swin_tiny_patch4_window7_224", (1, 2, 3)),
        ("swin_small_patch4_window7_224", (2, 4, 6)),
        ("convnext_tiny", (1, 2, 3)),
        ("convnext_base", (3, 6, 9)),
        ("convnext_atto", (1, 2, 3)),
    ],
)
def test_natural_locations_are_the_released_ones(network, locations):
    with torch.device("meta"):
        student = sparsify(timm.create_model(network))
    assert student.method.schedule.locations == locations
    assert student.method.schedule.ratios == pytest.approx((0.7, 0.5, 0.3))


@pytest.mark.parametrize(
    ("network", "options", "fragment"),
    [
        ("convnextv2_atto", {}, "global response norm"),
        (
            "swin_tiny_patch4_window7_224",
            {"img_size": 256},
            "windows of 7x7 do not divide: choose 224 or 448",
        ),
        ("swin_tiny_patch4_window7_224", {"depths": (2, 2), "num_heads": (3, 6)}, "has 2 stages"),
    ],
)
def test_what_cannot_be_routed_is_refused(network, options, fragment):
    with torch.device("meta"):
        built = timm.create_model(network, **options)
    with pytest.raises(InputError, match=fragment):
        sparsify(built)


def test_methods_of_the_wrong_kind_are_refused():
    with pytest.raises(InputError, match="method=asymmetric"):
        sparsify(make_network(CASES["swin"]), method="dynamicvit")
    with pytest.raises(InputError, match="method=dynamicvit"):
        create_student("vit_micro", method="asymmetric")
