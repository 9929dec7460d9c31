"""What `sparsify` and `create_student` make of a network that somebody already has."""

import logging
import re
from concurrent.futures import ThreadPoolExecutor

import pytest
import timm
import torch
from timm.models.convnext import ConvNeXt
from timm.models.vision_transformer import VisionTransformer
from timm.optim import create_optimizer_v2

from src import create_student, load, load_weights, sparsify
from src.errors import InputError
from src.measure.evaluating import evaluating
from src.modules.backbones import family_of
from src.modules.backbones.vit import SparseViT
from src.modules.methods.base import TokenReduction
from src.modules.methods.tome import ToMe
from src.modules.schedules import KeepSchedule

SMALL = {"embed_dim": 64, "num_heads": 4, "depth": 4, "img_size": 64, "num_classes": 5}


def make_vit(name="deit_tiny_patch16_224", **options):
    torch.manual_seed(0)
    return timm.create_model(name, **SMALL | options).eval()


NETWORKS = {
    "dynamicvit": make_vit,
    "static": make_vit,
    "tome": make_vit,
    "asymmetric": lambda: create_student("swin_micro").backbone.eval(),
}


def make_images(network, dtype=torch.float32, device=None):
    return torch.randn(2, 3, *network.patch_embed.img_size, dtype=dtype, device=device)


# Precision and device ----------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize("method", NETWORKS)
def test_a_method_has_the_precision_of_its_network(method, dtype):
    network = NETWORKS[method]().to(dtype)
    student = sparsify(network, method=method)
    assert {parameter.dtype for parameter in student.parameters()} == {dtype}
    images = make_images(network, dtype)
    assert student.eval()(images).logits.dtype == dtype
    student.train()(images).logits.float().sum().backward()
    gradients = [parameter.grad for parameter in student.method.parameters()]
    assert all(gradient.isfinite().all() for gradient in gradients if gradient is not None)


@torch.no_grad()
def test_half_precision_before_or_after_is_the_same():
    torch.manual_seed(1)
    after = sparsify(make_vit(), rho=0.5).eval().bfloat16()
    before = sparsify(make_vit().bfloat16(), rho=0.5).eval()
    before.method.load_state_dict(after.method.state_dict())
    images = make_images(before.backbone, torch.bfloat16)
    one, other = before(images), after(images)
    assert torch.equal(one.logits, other.logits)
    assert all(map(torch.equal, one.decisions, other.decisions))


def test_the_first_floating_weight_says_the_precision_of_a_mixed_network():
    network = make_vit().bfloat16()
    network.head.float()
    method = sparsify(network).method
    assert {parameter.dtype for parameter in method.parameters()} == {torch.bfloat16}


@pytest.mark.parametrize("method", NETWORKS)
def test_a_method_is_on_the_device_of_its_network(method):
    network = NETWORKS[method]().to("meta")
    student = sparsify(network, method=method).eval()
    tensors = [*student.parameters(), *student.buffers()]
    assert {tensor.device.type for tensor in tensors} == {"meta"}
    logits = student(make_images(network, device="meta")).logits
    assert (logits.device.type, len(logits)) == ("meta", 2)


def test_loaded_weights_take_the_precision_of_the_student(tmp_path):
    full = sparsify(make_vit())
    torch.save(full.state_dict(), tmp_path / "full.pth")
    half = sparsify(make_vit().bfloat16())
    load_weights(half, tmp_path / "full.pth")
    own = half.method.selector.predictors[0].out_conv[0].weight
    assert own.dtype == torch.bfloat16
    assert torch.equal(own, full.method.selector.predictors[0].out_conv[0].weight.bfloat16())


# Families ----------------------------------------------------------------------------------------


def test_a_subclass_of_a_student_changes_nothing():
    network = make_vit()
    assert family_of(network) is SparseViT

    class First(SparseViT):
        pass

    class TakingOver(SparseViT):
        networks = (timm.models.VisionTransformer,)

    assert family_of(network) is SparseViT
    assert type(sparsify(network)) is SparseViT
    by_hand = First(network, sparsify(network).method)
    assert by_hand.eval()(make_images(network)).logits.shape == (2, 5)
    assert type(TakingOver(network, by_hand.method)) is TakingOver


def test_a_family_for_a_new_class_is_found():
    class Own(timm.models.VisionTransformer):
        pass

    assert family_of(Own(**SMALL)) is SparseViT

    class OwnFamily(SparseViT):
        networks = (Own,)

    class WithoutNames(OwnFamily):
        pass

    assert type(sparsify(Own(**SMALL))) is OwnFamily
    assert type(sparsify(make_vit())) is SparseViT


def test_an_unknown_network_is_refused_with_examples():
    with pytest.raises(InputError) as error:
        sparsify(torch.nn.Linear(2, 2))
    said = str(error.value)
    for name in ("deit_small_patch16_224", "swin_tiny_patch4_window7_224", "lvvit_s"):
        assert timm.is_model(name)
        assert f"(as {name})" in said


def test_methods_that_merge_say_so():
    """A method whose tokens stand for several patches declares that it merges."""
    images = torch.randn(1, 3, 64, 64)
    for method in ("dynamicvit", "random", "evit", "tome", "mctf", "ats", "structural", "static"):
        student = sparsify(make_vit(), method=method, rho=0.5).eval()
        assert isinstance(student.method, TokenReduction)
        output = student(images)
        patches = output.source[output.source >= 0]
        together = len(patches) > len(patches.unique()) or method == "evit"
        assert student.method.merges == together, method


# Schedules ---------------------------------------------------------------------------------------


def create(**options):
    return create_student("vit_micro", **options)


def shrink(**options):
    return sparsify(make_vit(), **options)


@pytest.mark.parametrize("build", [create, shrink])
@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"rho": 0.5, "ratios": (0.7, 0.5, 0.3)}, "rho=0.5 and ratios=(0.7, 0.5, 0.3)"),
        ({"rho": 0.7, "ratios": (0.7, 0.5, 0.3)}, "rho=0.7 and ratios=(0.7, 0.5, 0.3)"),
        ({"schedule": "linear", "ratios": (0.7, 0.5, 0.3)}, "schedule='linear' and ratios="),
        ({"schedule": "explicit", "rho": 0.5}, "schedule='explicit' has no ratios"),
        ({"schedule": "explicit"}, "schedule='explicit' has no ratios"),
        ({"ratios": 0.7}, "ratios=0.7 must be a list of numbers"),
        ({"locations": 3}, "locations=3 must be a list of numbers"),
    ],
)
def test_arguments_that_contradict_are_refused(build, options, words):
    with pytest.raises(InputError) as error:
        build(**options)
    assert words in str(error.value)


@pytest.mark.parametrize("build", [create, shrink])
def test_one_of_rho_and_ratios_is_enough(build):
    assert build().method.schedule.ratios[0] == 0.7
    assert build(rho=0.5).method.schedule.ratios[0] == 0.5
    for schedule in (None, "explicit"):
        listed = build(ratios=(0.6, 0.4, 0.2), schedule=schedule)
        assert listed.method.schedule.ratios == (0.6, 0.4, 0.2)


@pytest.mark.parametrize(
    ("name", "options", "warned"),
    [
        ("swin_micro", {"rho": 1}, True),
        ("swin_micro", {"rho": 1.0, "schedule": "geometric"}, False),
        ("swin_micro", {"rho": 1, "method": "dense"}, False),
        ("swin_micro", {"rho": 0.9}, False),
        ("vit_micro", {"rho": 1}, False),
        ("vit_micro", {"rho": 1, "schedule": "arithmetic"}, True),
    ],
)
def test_rho_one_that_is_not_dense_is_said(name, options, warned, caplog):
    with caplog.at_level(logging.WARNING):
        create_student(name, **options)
    said = [r.message for r in caplog.records if r.message.startswith("rho=1 is not dense")]
    assert len(said) == warned
    assert all("1, 0.8, 0.6" in message for message in said)


# What a student offers ----------------------------------------------------------------------------


def test_rho_may_be_set_and_is_what_a_new_student_would_have():
    network = make_vit()
    student, other = sparsify(network, rho=0.7), sparsify(network, rho=0.5)
    student.rho = 0.5
    assert (student.rho, student.method.schedule) == (0.5, other.method.schedule)
    assert student.gmacs() == other.gmacs() < sparsify(network, rho=0.9).gmacs()
    with pytest.raises(InputError, match=r"rho=2 is not a keep ratio"):
        student.rho = 2
    assert student.rho == 0.5


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"ratios": (0.7, 0.5, 0.3)}, r"the ratios \[0.7, 0.5, 0.3\] were listed"),
        ({"method": "tome", "r": 3}, "method.r says how many tokens merge"),
        ({"method": "dense"}, "method=dense drops nothing"),
    ],
)
def test_rho_is_none_where_nothing_follows_from_it(options, words):
    student = sparsify(make_vit(), **options)
    assert student.rho is None
    with pytest.raises(InputError, match=words):
        student.rho = 0.5


def test_a_methods_options_are_arguments():
    assert sparsify(make_vit(), method="tome", r=3).method.r == 3
    assert sparsify(make_vit(), method=ToMe, r=3).method.r == 3
    with pytest.raises(
        InputError, match=r"q=3 is not an option of the method tome, which has r, at_locations\."
    ):
        sparsify(make_vit(), method="tome", q=3)
    with pytest.raises(InputError, match="neither a name in conf/method nor a Method class"):
        sparsify(make_vit(), method=torch.nn.Linear)


def test_a_schedule_may_be_a_value():
    schedule = KeepSchedule((1, 2), (0.5, 0.25))
    assert sparsify(make_vit(), schedule=schedule).method.schedule == schedule
    with pytest.raises(InputError, match="leave out rho, ratios and locations"):
        sparsify(make_vit(), schedule=schedule, rho=0.5)


def test_it_answers_what_timms_networks_do():
    network = make_vit()
    student = sparsify(network, rho=0.5).train()
    images = make_images(network)
    logits = student.predict(images)
    assert student.training
    assert not logits.requires_grad
    output = student.eval()(images)
    assert torch.equal(logits, output.logits)
    assert torch.equal(student.forward_features(images), output.features)
    assert (student.num_classes, student.image_size) == (5, (64, 64))
    assert student.pretrained_cfg == student.default_cfg == network.pretrained_cfg
    student.reset_classifier(3)
    assert student(images).logits.shape == (2, 3)
    lines = repr(student).splitlines()
    assert len(lines) == 5
    assert "DynamicViT, rho=0.5, keeps [0.5, 0.25, 0.125] at blocks 1, 2, 3" in lines[2]


def test_a_name_of_timm_leads_to_sparsify():
    with pytest.raises(InputError, match=r"sparsify\(timm.create_model\('vit_tiny_patch16"):
        create_student("vit_tiny_patch16_224")
    with pytest.raises(InputError, match="backbone='none' does not exist: choose one of"):
        create_student("none")


@pytest.mark.parametrize("size", [(80,), (80, 80, 80), (), "80", (80, 0)])
def test_sizes_of_images_are_one_number_or_two(size):
    with pytest.raises(InputError, match=r"image_size=.* must be a whole number from 1, as"):
        create_student("vit_micro", image_size=size)


@pytest.mark.parametrize("network", [None, "deit_s"])
def test_what_is_no_network_is_refused(network):
    with pytest.raises(InputError, match=r"network is a (NoneType|str): give a network"):
        sparsify(network)
    if network is None:
        with pytest.raises(InputError, match="backbone=None does not exist"):
            create_student(network)


def test_an_empty_batch_is_refused():
    with pytest.raises(InputError, match=r"shape \(0, 3, 80, 80\), which holds none"):
        create_student("vit_micro", method="evit").predict(torch.zeros(0, 3, 80, 80))


def test_a_network_that_knows_no_image_size_predicts_and_loads(tmp_path):
    saved = create_student("convnext_micro", num_classes=5)
    saved.save(tmp_path / "student.safetensors")
    student = sparsify(ConvNeXt(num_classes=5, **saved.backbone.made_with)).eval()
    load_weights(student, tmp_path / "student.safetensors")
    assert student.preprocessing == saved.preprocessing
    images = torch.randn(2, 3, 96, 96)
    torch.testing.assert_close(student.predict(images), saved.predict(images))


# What a student says of itself --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "options", "words"),
    [
        ("tome", {"r": 3}, "ToMe, merges 3 tokens in each block"),
        ("tome", {}, "rho=0.7, merges in each block for the cost of keeping [0.7, 0.49, 0.343] at"),
        ("tome", {"at_locations": True}, "ToMe, rho=0.7, keeps [0.7, 0.49, 0.343] at blocks 1, 2,"),
        ("structural", {}, "Structural, method=structural leaves a quarter of the tokens"),
        ("dense", {}, "Dense, method=dense drops nothing"),
    ],
)
def test_a_student_says_what_its_method_does(method, options, words):
    assert words in repr(sparsify(make_vit(), method=method, **options))


@pytest.mark.parametrize("given", [{"rho": 0.5}, {"ratios": (0.5, 0.4, 0.3)}])
@pytest.mark.parametrize("method", ["dense", "structural"])
def test_a_ratio_that_is_ignored_is_said(given, method, caplog):
    sparsify(make_vit(), method=method, **given)
    (name,) = given
    assert f"{name}={given[name]!r} changes nothing here: method={method}" in caplog.text


def test_a_network_without_timms_description_has_a_name():
    network = VisionTransformer(img_size=32, depth=4, embed_dim=64, num_heads=4)
    assert "network: VisionTransformer, 1000 classes" in repr(sparsify(network))
    student = sparsify(ConvNeXt(depths=(1, 1, 3, 1), dims=(8, 16, 32, 64)))
    assert "network: ConvNeXt" in repr(student)
    assert student.gmacs(64) > 0
    for call in (student.gmacs, lambda: student.preprocessing):
        with pytest.raises(InputError, match=r"^This ConvNeXt does not know for which images"):
            call()
    with pytest.raises(InputError, match=r"^images has the shape \(1, 1, 64, 64\): give \(B, 3, H"):
        student.predict(torch.zeros(1, 1, 64, 64))


@pytest.mark.parametrize(
    ("name", "options", "size"),
    [
        ("convnext_atto", {}, 8),
        ("poolformer_s12", {}, 1),
        ("naflexvit_base_patch16_gap", {"depth": 4, "embed_dim": 64, "num_heads": 4}, (97, 131)),
    ],
)
def test_sizes_that_a_network_does_not_take_are_named(name, options, size):
    student = sparsify(timm.create_model(name, **options))
    with pytest.raises(InputError, match=re.escape(f"image_size={size} does not suit this")):
        student.gmacs(size)


@pytest.mark.parametrize("name", ["poolformer_s12", "deit_tiny_patch16_224"])
def test_layers_decay_as_in_the_dense_network(name):
    network = timm.create_model(name)
    options = {"opt": "adamw", "lr": 1e-3, "layer_decay": 0.5}
    rates = [
        {
            id(parameter): group["lr_scale"]
            for group in create_optimizer_v2(model, **options).param_groups
            for parameter in group["params"]
        }
        for model in (network, sparsify(network))
    ]
    assert rates[0].items() <= rates[1].items()


def test_what_is_no_file_is_named(tmp_path):
    student = sparsify(make_vit(), method="norm")
    with pytest.raises(InputError, match=r"^source holds tensors instead of naming a file"):
        load_weights(student, make_vit().state_dict())
    with pytest.raises(InputError, match=r"^student is a VisionTransformer: give what sparsify"):
        load_weights(make_vit(), tmp_path / "a.pth")
    for call in (lambda: load_weights(student, None), lambda: load(None)):
        with pytest.raises(InputError, match=r"^None names no file: give a path"):
            call()


def test_a_second_classifier_that_trains_apart_is_refused():
    network = make_vit("deit_tiny_distilled_patch16_224")
    network.set_distilled_training(True)
    student = sparsify(network, method="evit")
    images = make_images(network)
    assert student.eval()(images).logits.shape == (2, 5)
    with pytest.raises(InputError, match=r"^set_distilled_training\(True\) makes two sets of"):
        student.train()(images)


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "convnext_atto", "beit_base_patch16_224"])
def test_an_encoder_pools(name):
    options = {"depth": 4} if name != "convnext_atto" else {}
    with pytest.raises(InputError, match=r"^global_pool='' does not pool an image to one vector"):
        sparsify(timm.create_model(name, num_classes=0, global_pool="", **options))


def test_threads_predict_in_evaluation_mode():
    student = sparsify(make_vit(drop_path_rate=0.5), rho=0.5).train()
    images = make_images(student.backbone)
    expected = student.predict(images)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: student.predict(images), range(60)))
    assert all(torch.allclose(logits, expected, atol=1e-5) for logits in found)
    assert all(part.training for part in student.modules())


def test_the_last_to_evaluate_restores_the_modes():
    network = torch.nn.Sequential(torch.nn.Dropout(), torch.nn.Identity()).train()
    network[1].eval()
    outer, inner = evaluating(network), evaluating(network[0])
    outer.__enter__()
    inner.__enter__()
    outer.__exit__(None, None, None)
    assert not network[0].training
    assert network.training
    inner.__exit__(None, None, None)
    assert [part.training for part in network.modules()] == [True, True, False]
