"""Walker = timm, masked = removed, rho 1 = dense: for every kind of plain transformer."""

from dataclasses import dataclass

import pytest
import timm
import torch
from torch import nn

from src.errors import InputError
from src.modules import create_student, sparsify
from src.modules.layers.selection import KEEP
from src.modules.methods.selectors import predictor

SMALL = {"embed_dim": 64, "num_heads": 4, "depth": 6}


@dataclass(frozen=True)
class Case:
    network: str
    options: dict
    prefix: int


CASES = {
    "deit": Case("deit_tiny_patch16_224", {**SMALL, "img_size": 112}, 1),
    "distilled": Case("deit_tiny_distilled_patch16_224", {**SMALL, "img_size": 112}, 2),
    "registers": Case(
        "vit_small_patch14_reg4_dinov2", {**SMALL, "img_size": 98, "num_classes": 7}, 5
    ),
    "average_pooling": Case("vit_base_patch16_gap_224", {**SMALL, "img_size": 112}, 0),
    "layer_scale": Case("deit3_small_patch16_224", {**SMALL, "img_size": 112}, 1),
    "lvvit": Case("lvvit_s", {**SMALL, "img_size": 112, "num_classes": 7}, 1),
    "convolutional_stem": Case("vit_micro_patch8_80", {}, 1),
    "resolution_384": Case("vit_small_patch16_384", {**SMALL, "num_classes": 3}, 1),
    "eva02": Case("eva02_tiny_patch14_224", {**SMALL, "img_size": 112, "num_classes": 5}, 1),
    "dinov3": Case("vit_small_patch16_dinov3", {**SMALL, "img_size": 112, "num_classes": 5}, 5),
    "rope": Case("vit_small_patch16_rope_224", {**SMALL, "img_size": 112}, 1),
    "rope_average_pooling": Case(
        "vit_medium_patch16_rope_reg1_gap_256", {**SMALL, "img_size": 112, "num_classes": 5}, 1
    ),
}


@pytest.fixture(params=CASES, name="case")
def _case(request) -> Case:
    return CASES[request.param]


def make_network(case: Case) -> nn.Module:
    network = timm.create_model(case.network, **case.options)
    # Untrained transformers hardly mix tokens: shake all parameters so that differences show.
    for parameter in network.parameters():
        parameter.data += 0.05 * torch.randn_like(parameter)
    return network.eval()


def make_images(network: nn.Module, batch: int = 2) -> torch.Tensor:
    return torch.randn(batch, 3, *network.patch_embed.img_size)


@torch.no_grad()
def test_without_method_it_is_timm_exactly(case):
    network = make_network(case)
    images = make_images(network)
    dense = sparsify(network, method="dense").eval()(images)
    assert torch.equal(dense.logits, network(images))
    assert dense.decisions == []


@torch.no_grad()
def test_rho_one_is_dense(case):
    network = make_network(case)
    images = make_images(network)
    student = sparsify(network, rho=1.0)
    torch.testing.assert_close(student.eval()(images).logits, network(images), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("batch", [1, 2, 3])
@torch.no_grad()
def test_masked_equals_removed(case, batch, monkeypatch):
    network = make_network(case)
    images = make_images(network, batch)
    student = sparsify(network, rho=0.6)
    removed = student.eval()(images)

    decided = iter(removed.decisions)
    monkeypatch.setattr(predictor, "gumbel_keep", lambda scores: next(decided))
    # Training mode of the method alone: dropout and stochastic depth stay off.
    student.method.train()
    masked = student(images)

    scale = removed.logits.abs().max()
    torch.testing.assert_close(masked.logits / scale, removed.logits / scale, atol=1e-5, rtol=0)
    for mask, index in zip(masked.decisions, removed.decisions, strict=True):
        assert torch.equal(mask, index)
    for a, b in zip(masked.counts, removed.counts, strict=True):
        assert torch.equal(a, b)
    kept = masked.size > 0
    assert masked.features.shape[1] == kept.shape[1]
    assert removed.features.shape[1] == kept[0].sum()
    torch.testing.assert_close(
        masked.features[kept].mean(0), removed.features.flatten(0, 1).mean(0), atol=1e-4, rtol=1e-4
    )


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@torch.no_grad()
def test_low_precision_inference(case, dtype):
    network = make_network(case)
    images = make_images(network)
    student = sparsify(network, rho=0.7).eval()
    exact = student(images)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = student(images)
    assert torch.isfinite(mixed.logits).all()
    assert [c.tolist() for c in mixed.counts] == [c.tolist() for c in exact.counts]
    pure = student.to(dtype)(images.to(dtype))
    assert pure.logits.dtype == dtype
    assert [c.tolist() for c in pure.counts] == [c.tolist() for c in exact.counts]


def test_masked_equals_removed_in_bf16(monkeypatch):
    network = make_network(CASES["deit"]).bfloat16()
    images = make_images(network).bfloat16()
    student = sparsify(network, rho=0.6).bfloat16()
    with torch.no_grad():
        removed = student.eval()(images)
        decided = iter(removed.decisions)
        monkeypatch.setattr(predictor, "gumbel_keep", lambda scores: next(decided))
        student.method.train()
        masked = student(images)
    scale = removed.logits.abs().max()
    # bf16 has 8 bits of precision; two orders of summation differ by a few of its steps.
    torch.testing.assert_close(masked.logits / scale, removed.logits / scale, atol=0.04, rtol=0)


def test_every_parameter_gets_a_gradient(case):
    network = make_network(case)
    student = sparsify(network, rho=0.7).train()
    output = student(make_images(network))
    total = output.logits.square().sum() + sum(d.sum() for d in output.decisions)
    if output.token_logits is not None:
        total = total + output.token_logits.square().sum()
    total.backward()
    without = [n for n, p in student.named_parameters() if p.grad is None]
    assert without == []
    assert all(torch.isfinite(p.grad).all() for p in student.parameters())


def test_output_has_one_shape_in_every_mode(case):
    network = make_network(case)
    images = make_images(network)
    student = sparsify(network, rho=0.7)
    training, inference = student.train()(images), student.eval()(images)
    patches = network.patch_embed.num_patches
    for output in (training, inference):
        assert output.logits.shape == (2, network.num_classes or network.num_features)
        assert [d.shape for d in output.decisions] == [(2, patches)] * 3
        assert [c.shape for c in output.counts] == [(2,)] * 3
        assert [step.ratio for step in output.steps] == pytest.approx((0.7, 0.49, 0.343))
        assert output.size.shape == output.features.shape[:2]
    assert training.features.shape[1] == patches
    assert network.num_prefix_tokens == case.prefix


def test_all_tokens_dropped_stays_finite(monkeypatch):
    network = make_network(CASES["deit"])
    student = sparsify(network, rho=0.5).train()
    monkeypatch.setattr(predictor, "gumbel_keep", lambda scores: scores[..., 0] * 0)
    output = student(make_images(network))
    output.logits.sum().backward()
    assert torch.isfinite(output.logits).all()
    assert all(torch.isfinite(p.grad).all() for p in student.parameters() if p.grad is not None)


def test_one_checkpoint_runs_at_any_rho():
    from src.modules.schedules import geometric

    student = create_student("vit_micro", rho=0.9).eval()
    images = torch.randn(1, 3, 80, 80)
    with torch.no_grad():
        for rho in (1.0, 0.5, 0.05):
            student.method.schedule = geometric(rho, (3, 6, 9))
            counts = [int(count) for count in student(images).counts]
            assert counts == [max(1, int(100 * rho**k + 1e-6)) for k in (1, 2, 3)]
    with pytest.raises(InputError, match="this student has 3 predictors"):
        student.method.schedule = geometric(0.7, (3, 6))


def test_the_decision_is_the_top_of_the_scores():
    network = make_network(CASES["deit"])
    student = sparsify(network, ratios=[0.5], locations=[2]).eval()
    images = make_images(network, 1)
    with torch.no_grad():
        tokens = student.embed(images)
        for block in list(student.blocks())[:2]:
            tokens = tokens.with_x(block(tokens.x))
        scores = student.method.selector.predictors[0](tokens.patches)
        kept = student(images).decisions[0][0].nonzero().flatten()
    assert sorted(scores[..., KEEP].topk(24, dim=1).indices[0].tolist()) == kept.tolist()


@pytest.mark.parametrize(
    ("network", "fragment"),
    [
        ("resnet18", "ResNet is not a network that can be sparsified"),
        ("vit_small_patch16_18x2_224", "ParallelThingsBlock cannot be sparsified"),
    ],
)
def test_other_networks_are_refused(network, fragment):
    with torch.device("meta"):
        built = timm.create_model(network)
    with pytest.raises(InputError, match=fragment):
        sparsify(built)


@pytest.mark.parametrize(
    ("wrap", "name"),
    [
        (torch.compile, "_orig_mod"),
        (nn.DataParallel, "module"),
        (lambda network: nn.Sequential(network, nn.Linear(5, 2)), "0"),
    ],
)
def test_a_network_inside_another_is_named(wrap, name):
    network = make_network(CASES["lvvit"])
    with pytest.raises(InputError, match=f"but its {name} is: give that"):
        sparsify(wrap(network))


def test_lvvit_in_training_gives_the_class_tokens_logits():
    case = CASES["lvvit"]
    network = make_network(case)
    images = make_images(network)
    tokens = network.forward_features(images)
    head, auxiliary = network.head(tokens[:, 0]), network.aux_head(tokens[:, 1:])
    dense = sparsify(network, method="dense").eval()
    expected = head + 0.5 * auxiliary.amax(dim=1)
    torch.testing.assert_close(network(images), expected)
    torch.testing.assert_close(dense(images).logits, expected)
    torch.testing.assert_close(dense(images).token_logits, auxiliary)
    torch.testing.assert_close(dense.as_teacher()(images).logits, head)
    with pytest.raises(InputError, match="Images of 96x96 pixels do not fit this LV-ViT"):
        network(torch.randn(1, 3, 96, 96))
    network.reset_classifier(3)
    assert network(images).shape == (2, 3)
