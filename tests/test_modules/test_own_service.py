"""What a student is in somebody's own service: precision, sizes, files, wrong arguments."""

import logging

import numpy as np
import pytest
import timm
import torch
from torch import nn

from src import KeepSchedule, create_student, load, sparsify
from src.errors import InputError
from tests.combinations import make_student, shaken

SMALL = {"embed_dim": 64, "num_heads": 4, "depth": 4, "img_size": 64}


def make_vit(**options):
    torch.manual_seed(0)
    network = timm.create_model("vit_tiny_patch16_224", num_classes=5, **SMALL | options)
    for parameter in network.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    return network


# A classifier of one's own ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("head", "outputs"),
    [
        (nn.Linear(64, 3), 3),
        (nn.Sequential(nn.Linear(64, 8), nn.GELU(), nn.Linear(8, 3), nn.Softmax(1)), 3),
        (nn.Identity(), 0),
    ],
)
def test_outputs_are_those_of_the_head_that_stands_there(head, outputs, tmp_path):
    """As `network.head = nn.Linear(...)` leaves timm's own count behind."""
    network, images = make_vit(), torch.randn(2, 3, 64, 64)
    network.head = head
    student = sparsify(network)
    assert student.num_classes == outputs
    assert f", {outputs} classes" in repr(student)
    assert student.embedding_dim == student.predict(images).shape[1]
    if not isinstance(head, nn.Sequential):
        options = {name: value for name, value in SMALL.items() if name != "img_size"}
        student.save(tmp_path / "s.safetensors", network_options=options)
        read = load(tmp_path / "s.safetensors")
        assert torch.equal(read.predict(images), student.predict(images))


# Mode, precision, size ---------------------------------------------------------------------------


@pytest.mark.parametrize("training", [True, False])
def test_a_student_has_the_mode_of_its_network(training):
    network = make_vit().train(training)
    student = sparsify(network)
    assert {part.training for part in student.modules()} == {training}
    if not training:
        images = torch.randn(2, 3, 64, 64)
        assert torch.equal(student(images).logits, student.predict(images))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("name", ["vit", "swin", "convnext"])
def test_precision_does_not_change_the_cost(name, dtype):
    student = make_student(name, "dynamicvit" if name == "vit" else "asymmetric")
    cost, text = student.gmacs(), repr(student)
    student.to(dtype)
    assert student.gmacs() == cost
    assert repr(student) == text
    assert {parameter.dtype for parameter in student.parameters()} == {dtype}


def test_another_default_precision_does_not_change_the_cost():
    cost = sparsify(make_vit()).gmacs()
    torch.set_default_dtype(torch.float64)
    try:
        assert sparsify(make_vit()).gmacs() == cost
    finally:
        torch.set_default_dtype(torch.float32)


@torch.no_grad()
@pytest.mark.parametrize("method", ["tome", "query_absorb", "mctf", "dynamicvit"])
@pytest.mark.parametrize("name", ["vit", "beit"])
def test_complete_maps_have_the_precision_of_the_network(name, method):
    torch.manual_seed(0)
    student = shaken(make_student(name, method), 0.05)
    images = torch.randn(2, 3, 64, 64)
    maps = student.with_maps(images).maps[0]
    low = student.bfloat16().with_maps(images.bfloat16()).maps[0]
    assert low.dtype == torch.bfloat16
    if (name, method) == ("vit", "tome"):  # whose tokens are no ties
        assert (low - maps).norm() < 0.02 * maps.norm()


@pytest.mark.parametrize("size", [0, -64, "64", 64.0, (64,), (64, 0), (1, 64, 64), 65, 128])
def test_the_cost_at_a_size_that_does_not_fit_is_refused(size):
    with pytest.raises(InputError, match=r"^image_size="):
        sparsify(make_vit()).gmacs(size)


@pytest.mark.parametrize(
    ("images", "fault"),
    [
        ([torch.rand(3, 64, 64)], r"images is a list: give a tensor \(B, 3, 64, 64\)"),
        (np.zeros((1, 3, 64, 64), np.float32), "images is a ndarray"),
        (torch.rand(3, 64, 64), r"images has the shape \(3, 64, 64\): give \(B, 3, 64, 64\)"),
        (torch.rand(1, 64, 64, 3), r"shape \(1, 64, 64, 3\)"),
        (torch.rand(1, 1, 64, 64), r"shape \(1, 1, 64, 64\)"),
        (torch.zeros(1, 3, 64, 64, dtype=torch.uint8), "torch.uint8: give normalized"),
        (torch.rand(1, 3, 64, 64).double(), "torch.float64, and the network of torch.float32"),
        (torch.rand(1, 3, 64, 64, device="meta"), "on meta, and the network on cpu"),
        (torch.rand(1, 3, 48, 64), r"shape \(1, 3, 48, 64\), which this network does not take"),
    ],
)
def test_images_that_do_not_fit_are_refused(images, fault):
    with pytest.raises(InputError, match=fault):
        sparsify(make_vit()).predict(images)


def test_other_errors_stay_what_they_are(monkeypatch):
    student = sparsify(make_vit())
    monkeypatch.setattr(student, "classify", lambda tokens: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        student.predict(torch.rand(1, 3, 64, 64))


# Arguments ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [list, np.array, tuple])
def test_schedules_of_lists_and_arrays_are_plain(kind, tmp_path):
    schedule = KeepSchedule(kind([1, 2, 3]), kind([0.75, 0.5, 0.25]))
    assert schedule == KeepSchedule((1, 2, 3), (0.75, 0.5, 0.25))
    assert hash(schedule) == hash(KeepSchedule((1, 2, 3), (0.75, 0.5, 0.25)))
    assert {type(number) for number in schedule.locations} == {int}
    assert {type(number) for number in schedule.ratios} == {float}


def test_a_budget_may_be_a_number_of_numpy():
    student = sparsify(make_vit(), rho=np.float32(0.5))
    assert student.method.schedule.ratios == (0.5, 0.25, 0.125)
    assert type(student.rho) is float
    student.rho = np.float64(0.75)
    assert student.method.schedule.ratios[1] == 0.75**2


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({"image_size": 0}, "image_size=0"),
        ({"image_size": "64"}, "image_size='64'"),
        ({"image_size": (64, -1)}, r"image_size=\(64, -1\)"),
        ({"num_classes": -1}, "num_classes=-1"),
        ({"num_classes": 2.5}, "num_classes=2.5"),
    ],
)
def test_impossible_numbers_are_refused(options, fault):
    with pytest.raises(InputError, match=fault):
        create_student("vit_micro", **options)


def test_a_student_is_no_network():
    with pytest.raises(InputError, match="is a student already: set its rho"):
        sparsify(sparsify(make_vit()))


def test_a_name_is_no_schedule():
    student = sparsify(make_vit())
    with pytest.raises(InputError, match="schedule='geometric' is no KeepSchedule"):
        student.method.schedule = "geometric"


# Files -------------------------------------------------------------------------------------------


def test_tied_weights_are_saved(tmp_path):
    network = make_vit()
    network.blocks[1].mlp = network.blocks[0].mlp
    student = sparsify(network).eval()
    student.save(tmp_path / "tied.safetensors", network_options=SMALL)
    images = torch.randn(2, 3, 64, 64)
    loaded = load(tmp_path / "tied.safetensors")
    assert torch.equal(loaded.predict(images), student.predict(images))


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"class_names": ("a", "b")}, "2 class names for 5 outputs"),
        ({"class_names": ("crane", "crane", "c", "d", "e")}, "list of different texts"),
        ({"metrics": {"images_per_s": 1e9}}, "metrics in its header has the number"),
    ],
)
def test_what_could_not_be_loaded_is_not_saved(change, fault, tmp_path):
    student = sparsify(make_vit())
    for name, value in change.items():
        setattr(student, name, value)
    with pytest.raises(InputError, match=f"cannot be saved: .*{fault}"):
        student.save(tmp_path / "student.safetensors", network_options=SMALL)
    assert not list(tmp_path.iterdir())


def test_a_new_classifier_has_no_names():
    student = sparsify(make_vit())
    student.class_names = tuple("abcde")
    student.reset_classifier(7)
    assert student.class_names is None


def test_a_size_that_was_set_later_is_saved(tmp_path):
    student = create_student("vit_micro").eval()
    student.backbone.set_input_size(96)
    student.save(tmp_path / "student.safetensors")
    loaded = load(tmp_path / "student.safetensors")
    images = torch.randn(1, 3, 96, 96)
    assert loaded.image_size == (96, 96)
    assert torch.equal(loaded.predict(images), student.predict(images))


# Models of transformers --------------------------------------------------------------------------


def make_model(**options):
    transformers = pytest.importorskip("transformers")
    sizes = {"hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 2}
    sizes |= {"intermediate_size": 64, "image_size": 32, "patch_size": 8, "num_labels": 5}
    return transformers.ViTForImageClassification(transformers.ViTConfig(**sizes | options))


def replace_head(model):
    model.classifier = nn.Sequential(nn.Dropout(), model.classifier)


def replace_activations(model):
    for layer in model.vit.layers:
        layer.mlp.activation_fn = nn.ReLU()


def remove_layer(model):
    del model.vit.layers[-1]


@pytest.mark.parametrize("change", [replace_head, replace_activations, remove_layer])
def test_a_model_with_replaced_parts_is_refused(change):
    model = make_model()
    change(model)
    with pytest.raises(InputError, match="where its configuration has"):
        sparsify(model)


def test_a_model_with_a_forward_of_its_own_is_refused():
    model = make_model()

    def forward(self, *inputs, **options):
        return None

    own = type("OwnModel", (type(model),), {"forward": forward})
    model.__class__ = own
    with pytest.raises(InputError, match="OwnModel has a forward of its own"):
        sparsify(model)
    model.__class__ = type("Named", (own.__base__,), {})
    assert sparsify(model).num_classes == 5


def test_a_model_in_evaluation_mode_gives_such_a_student(caplog):
    with caplog.at_level(logging.WARNING):
        student = sparsify(make_model().eval())
    assert not any(part.training for part in student.modules())
