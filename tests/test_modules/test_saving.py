"""A saved student is built again from its file alone, and hostile files are refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import timm
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import src.modules.saving.write
from src import KeepSchedule, create_student, load, load_weights, sparsify
from src.config import CONF, instantiate, option
from src.datamodules.preprocessing import Preprocessing
from src.errors import InputError
from src.modules.backbones import SparseBackbone
from src.modules.heads.base import WholeNetwork
from src.modules.methods.tome import ToMe
from src.modules.student import build_student
from tests.combinations import CASES, NETWORKS, make_network, make_student, shaken, students_of

HEADS = sorted(path.stem for path in (CONF / "head").glob("*.yaml"))


def options_of(name: str) -> dict[str, object]:
    return {key: value for key, value in NETWORKS[name][1].items() if key != "num_classes"}


def saved(student: SparseBackbone | WholeNetwork, path: Path, name: str = "vit") -> Path:
    student.save(path, network_options=options_of(name))
    return path


def logits(student: SparseBackbone, images: torch.Tensor) -> torch.Tensor:
    torch.manual_seed(1)  # for methods that draw at inference
    return student.predict(images)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "method"), CASES)
def test_the_loaded_student_computes_the_same_bit_for_bit(name, method, tmp_path):
    torch.manual_seed(0)
    student = shaken(make_student(name, method))
    again = load(saved(student, tmp_path / "student.safetensors", name))
    images = torch.randn(2, 3, 64, 64)
    assert isinstance(again, SparseBackbone)
    assert not again.training
    assert torch.equal(logits(student, images), logits(again, images))
    assert again.method.schedule == student.method.schedule
    assert again.rho == student.rho
    assert again.class_names is None
    assert again.preprocessing == student.preprocessing


@pytest.mark.slow
@pytest.mark.parametrize("backbone", ["vit", "swin", "convnext"])
@pytest.mark.parametrize("head", HEADS)
def test_every_head_is_saved_with_its_student(head, backbone, tmp_path):
    torch.manual_seed(0)
    whole = with_head(head, backbone)
    whole.student.class_names = tuple("abcd")
    whole.save(tmp_path / "whole.safetensors")
    again = load(tmp_path / "whole.safetensors")
    assert isinstance(again, WholeNetwork)
    assert again.student.class_names == tuple("abcd")
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        one, other = whole(images), again(images)
    assert all(map(torch.equal, one.backbone.maps, other.backbone.maps))
    if one.logits is not None:
        assert torch.equal(one.logits, other.logits)
    for found, same in zip(one.detections, other.detections, strict=True):
        assert found.keys() == same.keys()
        assert all(torch.equal(found[key], same[key]) for key in found)


def with_head(head: str, backbone: str) -> WholeNetwork:
    name, options = NETWORKS[backbone]
    settings = {"network": name, "options": {k: v for k, v in options.items() if k != "img_size"}}
    settings["options"].pop("num_classes")
    settings |= {"image_size": 64}
    plan = {"_target_": "src.modules.schedules.geometric", "rho": 0.5, "locations": [1, 2]}
    method = option("method", "evit" if backbone == "vit" else "asymmetric")
    student = build_student(settings, method, plan, 0, any_size=True)
    made = option("head", head) | {"channels": 32}
    if "hidden" in made:
        made["hidden"] = 16
    built = instantiate(made, levels=student.levels(), num_classes=4)
    built.settings, built.num_classes = made, 4
    return WholeNetwork(shaken(student, 0.02), built).eval()


# What a file says ---------------------------------------------------------------------------------


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return saved(shaken(make_student("vit", "tome")), tmp_path / "student.safetensors")


def header_of(path: Path) -> dict[str, str]:
    with safe_open(path, "pt") as opened:
        return dict(opened.metadata())


def test_names_preprocessing_metrics_and_versions_are_in_the_header(tmp_path):
    student = sparsify(make_network("vit"), ratios=(0.8, 0.5), method="tome", r=3)
    student.class_names = tuple("vwxyz")
    student.preprocessing = Preprocessing((64, 64), "bilinear", 0.5, "center", (0.1,) * 3, (1,) * 3)
    student.metrics = {"acc1": 81.25, "broken": float("nan")}
    student.method.r = 2  # a plain option may be changed
    path = saved(student, tmp_path / "a.safetensors")
    header = {key: json.loads(value) for key, value in header_of(path).items()}
    assert header["format"] == {"name": "tokenthrift student", "version": 1}
    assert header["network"]["name"].startswith("vit_tiny_patch16_224")
    assert header["network"]["options"]["img_size"] == 64
    assert header["schedule"]["ratios"] == [0.8, 0.5]
    assert header["versions"]["timm"] == timm.__version__
    again = load(path)
    assert again.class_names == tuple("vwxyz")
    assert again.preprocessing == student.preprocessing
    assert again.metrics == {"acc1": 81.25}
    assert again.method.r == 2
    assert again.rho is None


def test_a_student_by_name_needs_no_options(tmp_path):
    student = create_student("swin_micro", rho=0.9, num_classes=3)
    student.rho = 0.7
    student.save(tmp_path / "a.safetensors")
    again = load(tmp_path / "a.safetensors")
    assert again.rho == 0.7
    images = torch.randn(1, 3, 80, 80)
    assert torch.equal(student.predict(images), again.predict(images))
    again.rho = 0.9
    student.rho = 0.9
    assert again.method.schedule.ratios == student.method.schedule.ratios


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_precision_is_kept(dtype, tmp_path):
    student = shaken(make_student("eva", "random")).to(dtype)
    again = load(saved(student, tmp_path / "a.safetensors", "eva"))
    images = torch.randn(1, 3, 64, 64, dtype=dtype)
    assert torch.equal(logits(student, images), logits(again, images))


def test_a_saved_student_fills_another_one_as_weights(file):
    student = make_student("vit", "tome")
    load_weights(student, file)
    assert torch.equal(student.backbone.pos_embed, load(file).backbone.pos_embed)


def test_the_random_numbers_of_a_training_stay_as_they_were(tmp_path):
    student = make_student("vit", "evit")
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    load(saved(student, tmp_path / "a.safetensors"))
    assert torch.equal(torch.rand(1), expected)


class OwnMethod(ToMe):
    """Of somebody else."""


def test_a_method_from_outside_is_refused(tmp_path):
    for method, kind in ((OwnMethod, "OwnMethod"), (ToMe, None)):
        student = sparsify(make_network("vit"), method=method, r=1)
        if kind is None:
            assert load(saved(student, tmp_path / "a.safetensors")).method.r == 1
            continue
        with pytest.raises(InputError, match=f"The method {kind} cannot be saved, for its class"):
            saved(student, tmp_path / "a.safetensors")


def test_a_network_that_timm_would_make_otherwise_is_refused(tmp_path):
    student = make_student("vit", "tome")
    with pytest.raises(InputError, match="give network_options with the arguments"):
        student.save(tmp_path / "a.safetensors")
    options = options_of("vit") | {"num_heads": 2}  # the same shapes, another network
    with pytest.raises(InputError, match="give network_options with the arguments"):
        student.save(tmp_path / "a.safetensors", network_options=options)
    assert not list(tmp_path.iterdir())


def test_a_write_that_fails_leaves_the_old_file(file, monkeypatch):
    before = file.read_bytes()

    def fails(tensors: object, path: Path, text: object) -> None:
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(src.modules.saving.write, "save_file", fails)
    with pytest.raises(OSError, match="No space left on device"):
        saved(make_student("vit", "tome"), file)
    assert file.read_bytes() == before
    assert list(file.parent.iterdir()) == [file]


# Hostile files ------------------------------------------------------------------------------------


def rewritten(path: Path, key: str, change: object) -> Path:
    """Write the file anew with `change` merged into the header's `key`, or in its place."""
    header = header_of(path)
    if isinstance(change, str):
        header[key] = change
    elif isinstance(change, dict):
        header[key] = json.dumps(json.loads(header[key]) | change)
    elif change is None:
        del header[key]
    else:
        header[key] = json.dumps(change)
    save_file(load_file(path), path, header)
    return path


VIT = {"embed_dim": 64, "num_heads": 4, "depth": 4, "img_size": 64}
TOME = "src.modules.methods.tome.ToMe"
HOSTILE = [
    ("format", {"version": 2}, "format version 2 is not the 1"),
    ("format", {"name": "other"}, "is not a saved student"),
    ("format", "[" * 100_000, "format in its header is not plain JSON"),
    ("format", None, "is not a saved student"),
    ("network", None, "its header lacks network"),
    ("network", "9" * 10_000, "network"),
    ("network", [], "is not a table"),
    ("network", {"name": "/etc/passwd"}, "is not a network that timm knows"),
    ("network", {"name": "hf-hub:somebody/something"}, "is not a network that timm knows"),
    ("network", {"name": "resnet18"}, "cannot be built"),
    ("network", {"name": 7}, "network.name='7' is not a text"),
    ("network", {"num_classes": -1}, "is not a whole number from 0"),
    ("network", {"num_classes": 500_000}, "misshaped"),
    ("network", {"num_classes": 10**12}, "has the number 10"),
    ("network", {"options": {"embed_dim": 10**9}}, "has the number 10"),
    ("network", {"options": VIT | {"depth": 10**4}}, "would need many more"),
    ("network", {"options": VIT | {"embed_dim": 800_000}}, "misshaped"),
    ("network", {"options": VIT | {"img_size": 16_000}}, "misshaped"),
    ("network", {"options": VIT | {"embed_dim": -64}}, "cannot be built"),
    ("network", {"options": VIT | {"embed_dim": "wide"}}, "cannot be built"),
    ("network", {"options": VIT | {"num_heads": 0}}, "cannot be built"),
    ("network", {"options": VIT | {"unknown": 1}}, "cannot be built"),
    ("network", {"options": {"checkpoint_path": "/etc/passwd"}}, "read weights from elsewhere"),
    ("network", {"options": {"pretrained_cfg": {"file": "x"}}}, "read weights from elsewhere"),
    ("network", {"options": VIT | {"pretrained": True}}, "cannot be built"),
    ("network", {"options": VIT | {"depth": [[[[[[[1]]]]]]]}}, "nested too deeply"),
    ("network", {"options": {str(i): 1 for i in range(2000)}}, "too many"),
    (
        "method",
        {"settings": {"_target_": "os.system", "command": "true"}},
        "not a part of tokenthrift",
    ),
    ("method", {"settings": {"_target_": "src.files.atomic_file", "path": "x"}}, "not a part of"),
    ("method", {"settings": {"_target_": "src.modules.methods.base.nn.Linear"}}, "not a part of"),
    ("method", {"settings": {"_target_": "src.modules.methods.none.None"}}, "cannot be imported"),
    ("method", {"settings": {"_target_": TOME, "r": -1}}, "is not a whole number from 0"),
    ("method", {"settings": {"_target_": TOME, "q": 1}}, "has no setting q"),
    ("method", {"settings": {"_target_": TOME, "r": {"_target_": "os.getcwd"}}}, "not a part of"),
    ("method", {"settings": {"_target_": TOME, "r": [{"_target_": "os.getcwd"}]}}, "a list"),
    ("method", {"settings": {}}, "_target_='None' is not a text"),
    ("schedule", {"rule": "os.system"}, "schedule.rule='os.system' is not one of"),
    ("schedule", {"rho": 0.9}, "do not follow from rho=0.9"),
    ("schedule", {"locations": [1, 99]}, "give one for each"),
    ("schedule", {"locations": "all"}, "must be a list of numbers"),
    ("schedule", {"ratios": [7.0, 7.0, 7.0]}, "is not in"),
    ("schedule", {"options": {"step": 1}}, "cannot be built"),
    ("class_names", ["a", "b"], "it has 2 class names for 5 outputs"),
    ("class_names", [1, 2, 3, 4, 5], "is not a list of different texts"),
    ("preprocessing", {"size": [10**6, 3]}, "preprocessing has size"),
    ("preprocessing", {"std": [0, 1, 1]}, "preprocessing has std"),
    ("preprocessing", {"interpolation": "magic"}, "preprocessing has interpolation"),
    ("preprocessing", {"mean": [[1], {}, None]}, "preprocessing has mean"),
    ("preprocessing", {"extra": 1}, "is not made of"),
    ("metrics", {"acc1": "good"}, "is not a number"),
    ("metrics", '{"acc1": NaN}', "is not plain JSON"),
    ("task", {"head": {"_target_": "os.getcwd"}}, "not a part of tokenthrift"),
    ("task", {"num_classes": 1.5}, "is not a whole number from 0"),
]


@pytest.mark.parametrize(("key", "change", "sentence"), HOSTILE)
def test_hostile_descriptions_are_refused_in_one_sentence(key, change, sentence, file, recwarn):
    with pytest.raises(InputError) as refused:
        load(rewritten(file, key, change))
    (words,) = refused.value.sentences
    assert sentence in words
    assert "\n" not in str(refused.value)
    assert len(words) < 700
    assert str(file) in words


def test_files_that_are_no_saved_students_are_refused(file, tmp_path):
    whole = file.read_bytes()
    cut = tmp_path / "cut.safetensors"
    for length in (0, 5, 200, len(whole) // 2, len(whole) - 1):
        cut.write_bytes(whole[:length])
        with pytest.raises(InputError, match="not a whole weights file"):
            load(cut)
    bare = tmp_path / "bare.safetensors"
    save_file(load_file(file), bare)
    with pytest.raises(InputError, match="is not a saved student, for it does not describe one"):
        load(bare)
    torch.save(load_file(file), tmp_path / "weights.pth")
    with pytest.raises(InputError, match="is not a saved student"):
        load(tmp_path / "weights.pth")
    with pytest.raises(InputError, match="There is no weights file"):
        load(tmp_path / "missing.safetensors")


def test_tensors_that_do_not_fit_are_refused(file):
    tensors, header = load_file(file), header_of(file)
    name = "backbone.pos_embed"
    bad = {
        "missing backbone.pos_embed": {k: v for k, v in tensors.items() if k != name},
        "unexpected more": tensors | {"more": torch.ones(1)},
        "backbone.pos_embed is": tensors | {name: torch.ones(1, 2, 3)},
        "not finite": tensors | {name: tensors[name] / 0},
        "of another type": tensors | {name: torch.ones(tensors[name].shape, dtype=torch.int8)},
    }
    other = file.with_name("other.safetensors")  # `tensors` are views of what is in `file`
    for sentence, changed in bad.items():
        save_file(changed, other, header)
        with pytest.raises(InputError, match=sentence):
            load(other)


def test_a_listed_schedule_of_an_own_rule_keeps_its_ratios(tmp_path):
    plan = KeepSchedule((1, 2), (0.5, 0.25), 0.5, lambda rho, locations: plan)
    again = load(saved(sparsify(make_network("vit"), schedule=plan), tmp_path / "a.safetensors"))
    assert again.method.schedule == plan
    assert again.rho is None


def test_every_family_of_networks_is_tried():
    assert all(students_of(name) for name in NETWORKS)
