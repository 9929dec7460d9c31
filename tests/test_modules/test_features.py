"""Stage maps: dense = timm's at any size, masked = gathered, departed patches come back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import timm
import torch
from torch import nn
from torch.nn import functional as F

from src.modules import create_student, sparsify
from src.modules.backbones import SparseBackbone, family_of_class
from src.modules.methods import asymmetric
from src.modules.methods.selectors import predictor

pytestmark = pytest.mark.slow

VIT = {"embed_dim": 32, "num_heads": 2, "depth": 4, "img_size": 112, "num_classes": 0}
SIZES = [(224, 224), (512, 512), (333, 500)]


@dataclass(frozen=True)
class Case:
    network: str
    options: dict[str, Any]
    strides: tuple[int, ...]


CASES = {
    "deit": Case("deit_tiny_patch16_224", VIT, (16,)),
    "registers": Case("vit_small_patch14_reg4_dinov2", VIT, (14,)),
    "lvvit": Case("lvvit_s", VIT, (16,)),
    "eva": Case("vit_small_patch16_rope_224", VIT, (16,)),
    "micro": Case("vit_micro_patch8_80", {"depth": 3, "num_classes": 0}, (8,)),
    "swin": Case(
        "swin_tiny_patch4_window7_224",
        {"embed_dim": 16, "depths": (1, 2, 4, 2), "num_heads": (1, 2, 4, 8), "num_classes": 0},
        (4, 8, 16, 32),
    ),
    "swin_v2": Case(
        "swinv2_tiny_window8_256",
        {"embed_dim": 16, "depths": (1, 2, 4, 1), "num_heads": (1, 2, 4, 8), "num_classes": 0},
        (4, 8, 16, 32),
    ),
    "swin_three_stages": Case(
        "swin_tiny_patch4_window7_224",
        {"embed_dim": 16, "depths": (1, 2, 4), "num_heads": (1, 2, 4), "num_classes": 0},
        (4, 8, 16),
    ),
    "convnext": Case(
        "convnext_tiny",
        {"dims": (8, 16, 32, 64), "depths": (1, 1, 5, 1), "num_classes": 0},
        (4, 8, 16, 32),
    ),
    "convnext_small_patch": Case(
        "convnext_tiny",
        {"dims": (8, 16, 32, 64), "depths": (1, 1, 5, 1), "num_classes": 0, "patch_size": 2},
        (4, 8, 16, 32),
    ),
}


@pytest.fixture(params=CASES, name="case")
def _case(request: pytest.FixtureRequest) -> Case:
    return CASES[request.param]


def make_network(case: Case) -> nn.Module:
    with torch.device("meta"):
        kind = type(timm.create_model(case.network, **case.options))
    options = case.options | family_of_class(kind).any_size
    network = timm.create_model(case.network, **options)
    for parameter in network.parameters():
        parameter.data += 0.05 * torch.randn_like(parameter)
    return network.eval()


def make_student(network: nn.Module, **options: Any) -> SparseBackbone:
    student = sparsify(network, **options)
    for parameter in student.method.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    return student.eval()


def own_maps(network: Any, images: torch.Tensor) -> list[torch.Tensor]:
    """Timm's: all stages, or the last block of a plain transformer, normed."""
    if hasattr(network, "blocks"):
        return network.forward_intermediates(images, indices=1, norm=True, intermediates_only=True)
    # timm's Swin takes whole patches only.
    if hasattr(network, "layers"):
        bottom, right = (-side % 4 for side in images.shape[-2:])
        images = F.pad(images, (0, right, 0, bottom))
    return network.forward_intermediates(images, intermediates_only=True)


@pytest.mark.parametrize("size", SIZES, ids=str)
@torch.no_grad()
def test_dense_maps_are_timms_own(case: Case, size: tuple[int, int]) -> None:
    network = make_network(case)
    images = torch.randn(1, 3, *size)
    student = sparsify(network, method="dense").eval()
    maps, theirs = student.with_maps(images).maps, own_maps(network, images)
    assert [level.stride for level in student.levels()] == list(case.strides)
    assert [level.channels for level in student.levels()] == [m.shape[1] for m in maps]
    assert len(maps) == len(theirs)
    for mine, their in zip(maps, theirs, strict=True):
        torch.testing.assert_close(mine, their, atol=1e-5, rtol=1e-5)


def test_features_only_is_the_same() -> None:
    """Timm's other way to ask for features, a network of its own."""
    case = CASES["swin"]
    network = make_network(case)
    other = timm.create_model(
        case.network, features_only=True, strict_img_size=False, **case.options
    ).eval()
    weights = {key.replace("layers.", "layers_"): v for key, v in network.state_dict().items()}
    other.load_state_dict(weights, strict=False)
    images = torch.randn(1, 3, 224, 224)
    with torch.no_grad():
        maps = sparsify(network, method="dense").eval().with_maps(images).maps
        for mine, their in zip(maps, other(images), strict=True):
            torch.testing.assert_close(mine, their.permute(0, 3, 1, 2), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("batch", [1, 2, 3])
@torch.no_grad()
def test_masked_maps_are_gathered_maps(
    case: Case, batch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = torch.randn(batch, 3, 90, 140)
    student = make_student(make_network(case), rho=0.6)
    gathered = student.with_maps(images)
    decided = iter(gathered.decisions)
    for method in (asymmetric, predictor):
        monkeypatch.setattr(method, "gumbel_keep", lambda scores: next(decided))
    student.method.train()
    masked = student.with_maps(images)
    for a, b in zip(masked.maps, gathered.maps, strict=True):
        scale = b.abs().max()
        torch.testing.assert_close(a / scale, b / scale, atol=1e-5, rtol=0)


@torch.no_grad()
def test_maps_keep_their_shape_at_every_rho_and_images_their_maps_in_every_batch(
    case: Case,
) -> None:
    network = make_network(case)
    images = torch.randn(3, 3, 100, 132)
    dense = [m.shape for m in sparsify(network, method="dense").eval().with_maps(images).maps]
    for ratio in (0.9, 0.5, 0.25):
        student = make_student(network, ratios=(ratio,) * 3)
        together = student.with_maps(images)
        assert [m.shape for m in together.maps] == dense
        height, width = together.maps[min(2, len(dense) - 1)].shape[-2:]
        for count in together.counts:
            assert count.tolist() == [int(ratio * height * width)] * 3  # of the actual map
        for number in range(3):
            alone = student.with_maps(images[number : number + 1]).maps
            for a, b in zip(alone, together.maps, strict=True):
                torch.testing.assert_close(a[0], b[number], atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_departed_patches_return_as_they_were() -> None:
    network: Any = make_network(CASES["deit"])
    images = torch.randn(2, 3, 112, 112)
    student = make_student(network, ratios=(0.5, 0.25, 0.1))
    entered: dict[int, torch.Tensor] = {}
    locations = student.method.schedule.locations
    before = student.method.before_block

    def watched(layer: int, tokens: Any) -> Any:
        if layer == locations[0]:
            entered[layer] = tokens.patches.clone()
        return before(layer, tokens)

    student.method.before_block = watched  # type: ignore[method-assign]
    output = student.with_maps(images)
    gone = output.decisions[0] == 0
    assert gone.sum() == 2 * 25
    seen = output.maps[0].flatten(2).transpose(1, 2)
    torch.testing.assert_close(seen[gone], network.norm(entered[locations[0]])[gone])
    stayed = output.decisions[-1] == 1
    torch.testing.assert_close(seen[stayed].mean(0), output.features.flatten(0, 1).mean(0))
    last = output.features.gather(
        1, output.source.clamp(min=0).unsqueeze(-1).expand(-1, -1, output.features.shape[-1])
    )
    torch.testing.assert_close(seen[stayed], last[stayed])


@pytest.mark.parametrize("method", ["tome", "structural", "evit", "ats"])
@torch.no_grad()
def test_merged_patches_share_their_token(method: str) -> None:
    network = make_network(CASES["deit"])
    images = torch.randn(2, 3, 112, 112)
    output = make_student(network, rho=0.5, method=method).with_maps(images)
    seen = output.maps[0].flatten(2).transpose(1, 2)
    assert output.source is not None
    there = output.source >= 0
    index = output.source.clamp(min=0).unsqueeze(-1).expand_as(seen)
    if method == "ats":  # tokens of size 0 only fill the batch
        there &= output.size.gather(1, output.source.clamp(min=0)) > 0
    torch.testing.assert_close(seen[there], output.features.gather(1, index)[there])
    assert torch.isfinite(seen).all()
    assert there.all() == (method in ("tome", "structural"))


def test_every_parameter_learns_from_the_maps(case: Case) -> None:
    """Predictors learn from both sides of a decision; nothing is left over for DDP to find."""
    student = make_student(make_network(case)).train()
    output = student.with_maps(torch.randn(2, 3, 112, 112))
    loss = sum(m.square().mean() for m in output.maps) + output.features.square().mean()
    loss.backward()
    frozen = ("head", "fc_norm", "aux_head")  # what classifies
    without = {
        name
        for name, parameter in student.named_parameters()
        if (parameter.grad is None or not parameter.grad.any())
        and not any(part in name for part in frozen)
    }
    assert not {name for name in without if name.startswith("method.")}
    assert without <= {"backbone.norm.weight", "backbone.norm.bias"} | {
        name for name in without if "k_proj.bias" in name or "qkv.bias" in name
    }


def test_classification_is_not_touched() -> None:
    student = create_student("vit_micro").eval()
    assert student(torch.randn(1, 3, 80, 80)).maps == ()
