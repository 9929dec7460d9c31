"""Heads that pool over tokens: masked = removed, merged by size, whole = timm."""

import pytest
import timm
import torch

from src.errors import InputError
from src.modules import sparsify
from src.modules.backbones.pooling import pool_and_classify
from src.modules.layers.selection import KEEP
from src.modules.layers.tokens import Tokens
from src.modules.methods.selectors import predictor

SMALL = {"embed_dim": 64, "num_heads": 4, "depth": 4, "num_classes": 5}
NETWORKS = {
    "siglip": ("vit_base_patch16_siglip_224", {"img_size": 64}),
    "prefix": ("vit_base_patch16_siglip_224", {"img_size": 64, "class_token": True}),
    "prefix_included": (
        "vit_base_patch16_siglip_224",
        {"img_size": 64, "class_token": True, "pool_include_prefix": True},
    ),
    "perception_encoder": ("vit_pe_core_base_patch16_224", {"img_size": 64}),
    "max": ("deit_tiny_patch16_224", {"img_size": 64, "global_pool": "max"}),
    "avgmax": ("deit_tiny_patch16_224", {"img_size": 64, "global_pool": "avgmax"}),
    "avg": ("deit_tiny_patch16_224", {"img_size": 64, "global_pool": "avg"}),
}
ATTENTIVE = ("siglip", "prefix", "prefix_included", "perception_encoder")


@pytest.fixture(params=NETWORKS, name="network")
def _network(request):
    name, options = NETWORKS[request.param]
    torch.manual_seed(0)
    network = timm.create_model(name, **SMALL | options)
    for parameter in network.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    return network.eval()


def make_tokens(network, batch=2, patches=16):
    prefix = network.num_prefix_tokens
    return Tokens(torch.randn(batch, prefix + patches, 64), prefix=prefix)


@torch.no_grad()
def test_ones_are_timm(network):
    tokens = make_tokens(network)
    ones = tokens.mask(torch.ones(2, 16))
    logits = pool_and_classify(network, ones.x, ones)
    torch.testing.assert_close(logits, network.forward_head(tokens.x), atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_a_masked_token_is_no_token(network):
    tokens = make_tokens(network)
    keep = torch.tensor([1.0, 0.0]).repeat(2, 8)
    masked = tokens.mask(keep)
    removed = tokens.select(torch.arange(0, 16, 2).expand(2, -1))
    torch.testing.assert_close(
        pool_and_classify(network, masked.x, masked),
        network.forward_head(removed.x),
        atol=1e-5,
        rtol=1e-5,
    )


@torch.no_grad()
def test_a_merged_token_counts_as_often_as_its_patches(network):
    """Two tokens alike, merged, pool as before."""
    tokens = make_tokens(network)
    twice = tokens.with_x(torch.cat([tokens.x, tokens.x[:, -1:]], dim=1))
    group = torch.arange(17).clamp(max=15).expand(2, -1)
    merged = twice.merge(group, 16)
    torch.testing.assert_close(
        pool_and_classify(network, merged.x, merged),
        network.forward_head(twice.x),
        atol=1e-5,
        rtol=1e-5,
    )


@torch.no_grad()
def test_a_student_masks_as_it_removes(network, monkeypatch):
    def top(log_probabilities):
        count = log_probabilities.shape[1] // 2
        index = log_probabilities[..., KEEP].topk(count, dim=1).indices
        return torch.zeros_like(log_probabilities[..., 0]).scatter(1, index, 1.0)

    student = sparsify(network, ratios=(0.5,), locations=(2,))
    images = torch.randn(2, 3, 64, 64)
    removed = student.eval()(images).logits
    monkeypatch.setattr(predictor, "gumbel_keep", top)
    student.method.train()
    torch.testing.assert_close(student(images).logits, removed, atol=1e-5, rtol=1e-5)


def test_every_parameter_learns(network):
    torch.manual_seed(0)
    student = sparsify(network, rho=0.7).train()
    student(torch.randn(4, 3, 64, 64)).logits.square().sum().backward()
    for name, parameter in student.method.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
    assert student.method.selector.predictors[-1].out_conv[-2].weight.grad.abs().sum() > 0


@torch.no_grad()
def test_a_head_of_no_tokens_is_finite(network):
    tokens = make_tokens(network).mask(torch.zeros(2, 16))
    assert pool_and_classify(network, tokens.x, tokens).isfinite().all()


@pytest.mark.parametrize("name", ATTENTIVE)
def test_the_gradient_of_a_dropped_token_is_the_weighted_sums(name):
    """At size 0 as by finite differences in fp64."""
    network, options = NETWORKS[name]
    network = timm.create_model(network, **SMALL | options).eval()
    network.double().requires_grad_(False)
    tokens = make_tokens(network)
    x = tokens.x.double()

    def logit(keep):
        masked = tokens.with_x(x).mask(keep)
        return pool_and_classify(network, x, masked).sum()

    keep = torch.ones(2, 16, dtype=torch.float64)
    keep[:, 3] = 0.0
    (gradient,) = torch.autograd.grad(logit(keep.requires_grad_()), keep)
    step = torch.zeros_like(keep)
    step[0, 3] = 1e-4
    measured = (logit(keep.detach() + step) - logit(keep.detach())) / 1e-4
    assert gradient[0, 3] != 0
    torch.testing.assert_close(gradient[0, 3], measured, atol=1e-4, rtol=1e-2)


@pytest.mark.parametrize("method", ["tome", "mctf"])
@pytest.mark.parametrize("name", ["siglip", "max", "avgmax"])
@torch.no_grad()
def test_merging_runs_and_is_timm_where_nothing_merges(name, method):
    network, options = NETWORKS[name]
    network = timm.create_model(network, **SMALL | options).eval()
    images = torch.randn(2, 3, 64, 64)
    whole = sparsify(network, method=method, rho=1).eval()
    assert torch.equal(whole(images).logits, network(images))
    assert sparsify(network, method=method, rho=0.5).eval()(images).logits.isfinite().all()


def test_a_head_without_a_single_answer_is_refused():
    network = timm.create_model("deit_tiny_patch16_224", **SMALL, img_size=64, global_pool="")
    with pytest.raises(InputError, match="global_pool='' does not pool an image"):
        sparsify(network)


def test_another_pooling_is_refused():
    network = timm.create_model("vit_base_patch16_siglip_224", **SMALL, img_size=64)
    network.attn_pool = torch.nn.Identity()
    with pytest.raises(InputError, match="Pooling by Identity cannot weigh"):
        sparsify(network)
