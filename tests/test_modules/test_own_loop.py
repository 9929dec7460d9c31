"""What a student is within somebody's own training loop: modes, targets, memory, own parts."""

import logging
import types

import pytest
import timm
import torch
from timm.optim import create_optimizer_v2
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import prune

from src import compile_for_inference, graph_for_inference, sparsify
from src.errors import InputError
from src.modules.layers.attention import attend_from
from src.modules.methods.selectors import predictor
from tests.combinations import NETWORKS, beside, make_network, make_student, shaken, students_of

SMALL = {"embed_dim": 64, "num_heads": 4, "depth": 4, "img_size": 64, "num_classes": 5}


def make_vit(**options):
    torch.manual_seed(0)
    network = timm.create_model("vit_tiny_patch16_224", **SMALL | options)
    for parameter in network.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    return network


def make_images(batch=2, size=(64, 64), channels=3):
    torch.manual_seed(1)
    return torch.randn(batch, channels, *size)


# Modes -------------------------------------------------------------------------------------------


def test_predict_leaves_each_part_in_its_mode():
    student = sparsify(make_vit()).train()
    student.backbone.eval()  # frozen
    student.backbone.head.train()
    before = [part.training for part in student.modules()]
    student.predict(make_images())
    assert [part.training for part in student.modules()] == before


def test_an_error_leaves_each_part_in_its_mode():
    student = sparsify(make_vit()).train()
    student.backbone.eval()
    with pytest.raises(InputError):
        student.predict(make_images(channels=7))
    assert student.method.training
    assert not student.backbone.training


def test_programs_for_inference_evaluate_and_leave_the_mode(monkeypatch):
    monkeypatch.setattr(torch, "compile", lambda network, **_: network)
    student = sparsify(make_vit()).train()
    images = make_images()
    program = compile_for_inference(student)
    graph_for_inference(student)
    assert student.training
    assert torch.equal(program(images).logits, student.predict(images))
    assert student.training


@torch.no_grad()
@pytest.mark.parametrize("name", ["vit", "eva", "beit", "relpos"])
def test_attention_dropout_follows_the_mode_of_its_attention(name):
    network = make_network(name)
    for block in network.blocks:
        block.attn.attn_drop.p = 0.9
    student = shaken(beside(network, "dense")).train()
    network.eval()
    images = make_images()
    torch.testing.assert_close(student(images).logits, network(images))
    network.blocks[0].attn.train()
    assert not torch.equal(student(images).logits, student(images).logits)


def test_predictions_may_be_targets():
    teacher, student = sparsify(make_vit()), sparsify(make_vit()).train()
    images = make_images()
    F.mse_loss(student(images).logits, teacher.predict(images)).backward()
    assert student.backbone.head.weight.grad.any()


# Gradients ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [1.0, 1e3])
def test_pooling_where_nothing_is_left_has_finite_gradients(scale):
    torch.manual_seed(0)
    query, key, value = (scale * torch.randn(2, 2, n, 8) for n in (1, 4, 4))
    size = torch.tensor([[0.0, 0.0, 0.0, 0.0], [1.0, 0.0, 0.0, 1.0]])
    tensors = [tensor.requires_grad_() for tensor in (query, key, value, size)]
    pooled = attend_from(*tensors, 0.3)
    pooled.sum().backward()
    assert not pooled[0].any()
    assert all(tensor.grad.isfinite().all() for tensor in tensors)
    kept = F.scaled_dot_product_attention(query, key[:, :, [0, 3]], value[:, :, [0, 3]], scale=0.3)
    torch.testing.assert_close(pooled[1], kept[1])


def test_attention_pooling_trains_through_images_without_patches(monkeypatch):
    network = make_vit(global_pool="map", class_token=False)
    student = shaken(sparsify(network), 0.05).train()
    drawn = predictor.gumbel_keep
    monkeypatch.setattr(predictor, "gumbel_keep", lambda scores: 0 * drawn(scores))
    student(make_images()).logits.square().sum().backward()
    assert all(p.grad.isfinite().all() for p in student.parameters() if p.grad is not None)


# Memory ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "method"),
    [
        ("vit", "dynamicvit"),
        ("vit", "query_absorb"),
        ("eva", "tome"),
        ("beit", "evit"),
        ("swin", "asymmetric"),
        ("swin", "windows"),
        ("convnext", "query_paths"),
    ],
)
def test_gradient_checkpointing_recomputes_and_changes_no_gradient(name, method):
    torch.manual_seed(0)
    student = make_student(name, method).train()
    images, runs = make_images(), []
    layer = student.backbone.get_submodule(block_of(name)).mlp.fc1
    layer.register_forward_hook(lambda *_: runs.append(1))
    gradients = []
    for enable in (False, True):
        student.set_grad_checkpointing(enable)
        student.zero_grad()
        torch.manual_seed(2)
        output = student(images)
        sum_of(output).backward()
        gradients.append([p.grad.clone() for p in student.parameters() if p.grad is not None])
    assert len(runs) == 3  # once, and then twice
    torch.testing.assert_close(gradients[0], gradients[1])


def sum_of(output):
    scores = sum(summary.square().sum() for summary in output.summaries)
    return output.logits.square().sum() + scores + sum(keep.sum() for keep in output.decisions)


def block_of(name):
    places = {"swin": "layers.2.blocks.2", "convnext": "stages.2.blocks.2"}
    return places.get(name, "blocks.2")


@torch.no_grad()
def test_maps_under_gradient_checkpointing_are_the_same():
    student = sparsify(make_vit(), method="tome", rho=0.5).eval()
    images = make_images()
    maps = student.with_maps(images).maps[0]
    student.set_grad_checkpointing()
    with torch.enable_grad():
        again = student.with_maps(images).maps[0]
        again.sum().backward()
    assert torch.equal(maps, again)


# Optimizers of timm ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "method"), [("vit", "dynamicvit"), ("swin", "asymmetric"), ("convnext", "query_paths")]
)
@pytest.mark.parametrize("layer_decay", [None, 0.5])
def test_timms_optimizer_treats_the_network_as_by_itself(name, method, layer_decay):
    student = make_student(name, method)
    options = {"opt": "adamw", "lr": 0.1, "weight_decay": 0.2, "layer_decay": layer_decay}
    found, asked = (
        {
            id(parameter): (group["weight_decay"], group.get("lr_scale", 1.0))
            for group in create_optimizer_v2(network, **options).param_groups
            for parameter in group["params"]
        }
        for network in (student, student.backbone)
    )
    assert asked == {key: found[key] for key in asked}
    assert (len({scale for _, scale in found.values()}) > 1) == (layer_decay is not None)
    for parameter in student.method.parameters():
        assert found[id(parameter)] == (0.2 if parameter.ndim > 1 else 0.0, 1.0)


# Own parts ---------------------------------------------------------------------------------------


class OwnViT(timm.models.VisionTransformer):
    def forward_features(self, x):
        return 2 * super().forward_features(x)


class Adapted(nn.Module):
    """A linear layer with a branch beside it, as LoRA's."""

    def __init__(self, layer):
        super().__init__()
        self.layer, self.branch = layer, nn.Linear(layer.in_features, layer.out_features)

    def forward(self, x):
        return self.layer(x) + self.branch(x)


class Zeroed(nn.Module):
    """A convolution whose adapter takes everything away."""

    def __init__(self, layer):
        super().__init__()
        self.layer, self.weight = layer, layer.weight

    def forward(self, x):
        return 0 * self.layer(x)


def patch_attention(network):
    attention = network.blocks[1].attn
    attention.forward = types.MethodType(lambda self, x, **options: 0 * x, attention)


def subclass_attention(network):
    attention = network.blocks[1].attn
    own = {"forward": lambda self, x, **options: 0 * x}
    attention.__class__ = type("OwnAttention", (type(attention),), own)


def patch_block(network):
    block = network.blocks[1]
    block.forward = types.MethodType(lambda self, x, **options: x, block)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        *((name, patch_attention) for name in ("vit", "beit", "eva", "relpos", "lvvit")),
        ("vit", patch_block),
        ("beit", subclass_attention),
    ],
)
def test_an_own_part_that_a_student_would_leave_out_is_refused(name, change):
    network = make_network(name)
    change(network)
    with pytest.raises(InputError, match=r"^blocks\.1.* has a forward of its own"):
        beside(network, "tome")


def test_a_block_of_a_hierarchical_network_that_a_student_would_leave_out_is_refused():
    network = make_network("swin")
    block = network.layers[2].blocks[2]
    block.forward = types.MethodType(lambda self, x: x, block)
    with pytest.raises(InputError, match=r"layers\.2\.blocks\.2 .* has a forward of its own"):
        beside(network, "asymmetric")


def test_a_network_with_a_forward_of_its_own_is_refused():
    network = make_vit()
    network.__class__ = OwnViT
    with pytest.raises(InputError, match="OwnViT has a forward of its own"):
        sparsify(network)
    network = make_vit()
    network.forward_features = lambda x: x
    with pytest.raises(InputError, match="VisionTransformer has a forward of its own"):
        sparsify(network)


@torch.no_grad()
def test_own_layers_are_run():
    network = make_vit().eval()
    for block in network.blocks:
        block.attn.qkv = Adapted(block.attn.qkv)
        block.mlp.fc1 = Adapted(block.mlp.fc1)
    images = make_images()
    torch.testing.assert_close(
        sparsify(network, method="dense").eval()(images).logits, network(images)
    )


@torch.no_grad()
@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("name", ["vit", "beit", "eva", "lvvit", "relpos", "swin"])
def test_attention_has_the_networks_own_temperature(name, fused):
    """Of timm's two paths the fused one ignores it."""
    network = shaken(make_network(name)).eval()
    attentions = [part for part in network.modules() if hasattr(part, "fused_attn")]
    for attention in attentions:
        attention.scale, attention.fused_attn = 3 * attention.scale, fused
    images = make_images()
    assert attentions
    torch.testing.assert_close(beside(network, "dense").eval()(images).logits, network(images))


def test_hooks_that_will_not_be_called_are_warned_of(caplog):
    network = make_vit()
    network.blocks[1].register_forward_hook(lambda *_: None)
    network.blocks[1].mlp.register_forward_hook(lambda *_: None)
    with caplog.at_level(logging.WARNING):
        sparsify(network)
    assert "Hooks on blocks.1 will not be called" in caplog.text


def test_neither_checks_nor_counts_call_hooks():
    network, seen = make_vit(), []
    network.blocks[1].mlp.register_forward_hook(lambda *_: seen.append(1))
    student = sparsify(network)
    assert "cost:" in repr(student)
    assert not seen
    student(make_images())
    assert len(seen) == 1


def test_a_pruned_network_is_counted():
    network = make_vit()
    prune.l1_unstructured(network.blocks[1].mlp.fc1, "weight", 0.5)
    student = sparsify(network)
    student(make_images())
    assert student.gmacs() == sparsify(make_vit()).gmacs()


@torch.no_grad()
def test_an_adapter_on_a_convolution_of_lvvit_is_run():
    network = make_network("lvvit").eval()
    convolution = network.patch_embed.conv1
    network.patch_embed.conv1 = Zeroed(convolution)
    images = make_images()
    assert torch.equal(network.patch_embed(images), network.patch_embed(0 * images))


def test_networks_of_timm_are_not_run_to_be_checked(monkeypatch):
    network = make_vit()
    monkeypatch.setattr(type(network), "_pos_embed", None)
    sparsify(network)


# Images of other kinds ---------------------------------------------------------------------------


def test_any_number_of_channels_is_counted_and_saved(tmp_path):
    options = {"in_chans": 1, **SMALL}
    options.pop("num_classes")
    student = sparsify(make_vit(in_chans=1)).eval()
    colored = sparsify(make_vit())
    embedding = 16 * 16 * 16 * 64  # patches of 16 x 16 pixels to 64 channels
    assert colored.gmacs() - student.gmacs() == pytest.approx(2 * embedding / 1e9)
    assert "cost:" in repr(student)
    student.save(tmp_path / "gray.safetensors", network_options=options)
    from src import load

    images = make_images(channels=1)
    assert torch.equal(load(tmp_path / "gray.safetensors").predict(images), student.predict(images))


@torch.no_grad()
@pytest.mark.parametrize("size", [(64, 256), (64, 80)])
def test_structural_pools_neighbors_of_images_that_are_not_square(size):
    student = sparsify(
        make_vit(dynamic_img_size=True, class_token=False, global_pool="avg", pos_embed="none"),
        method="structural",
        ratios=[0.5],
        locations=[2],
    ).eval()
    source = student(make_images(1, size)).source[0].view(4, size[1] // 16)
    rows, columns = torch.arange(4)[:, None] // 2, torch.arange(size[1] // 16) // 2
    assert torch.equal(source, rows * -(-size[1] // 32) + columns)


def test_patch_dropout_leaves_no_wrong_places():
    images = make_images()
    for method in ("structural", "query_cells"):
        student = sparsify(make_vit(patch_drop_rate=0.5), method=method)
        with pytest.raises(InputError, match="patch_drop_rate=0"):
            student.train()(images)
        assert student.eval()(images).grid == (4, 4)
    student = sparsify(make_vit(patch_drop_rate=0.5), method="tome").train()
    output = student(images)
    assert output.grid is None
    with pytest.raises(InputError, match="patch_drop_rate=0"):
        student.with_maps(images)


def test_every_network_and_method_trains_after_a_prediction():
    for name in NETWORKS:
        for method in list(students_of(name))[:2]:
            student = make_student(name, method)
            student.predict(make_images())
            student.train()(make_images()).logits.sum().backward()
