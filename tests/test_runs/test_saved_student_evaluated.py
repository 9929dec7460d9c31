"""What a saved student says of itself holds where its weights are taken as a checkpoint."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf
from safetensors.torch import save_file

from src import create_student
from src.checkpoints.checkpoint import Checkpoint
from src.config import CONF, compose_config, option
from src.errors import InputError
from src.modules.weights import load_weights
from src.runs.class_names import match_classes
from src.runs.option_words import backbone_words, method_words
from src.runs.record import with_recorded_run
from src.runs.self_described import check_described
from tests.test_runs.test_class_names import data_of, labels


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    student = create_student("vit_micro", method="evit", rho=0.5, num_classes=2)
    student.class_names = ("bee", "ant")
    path = tmp_path_factory.mktemp("saved") / "student.safetensors"
    student.save(path)
    return path


def test_its_classes_label_the_data(saved: Path, tmp_path: Path) -> None:
    checkpoint = Checkpoint.read(saved)
    assert checkpoint.class_names == ("bee", "ant")
    data = data_of(tmp_path / "a", "ant", "bee")
    match_classes(data, checkpoint)
    assert labels(data) == {"ant": 1, "bee": 0}
    with pytest.raises(InputError, match="cow is not among the 2 classes"):
        match_classes(data_of(tmp_path / "b", "ant", "cow"), checkpoint)
    student = create_student("vit_micro", method="tome", num_classes=2)
    assert not student.class_names
    load_weights(student, saved)
    assert student.class_names == ("bee", "ant")


def test_other_files_say_nothing(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(1)}, tmp_path / "a.safetensors", {"class_names": "no json"})
    assert Checkpoint.read(tmp_path / "a.safetensors").class_names is None
    save_file({"a": torch.zeros(1)}, tmp_path / "b.safetensors")
    assert Checkpoint.read(tmp_path / "b.safetensors").class_names is None


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            [],
            r"with method=evit instead of method=query_absorb and with the ratios \[0.5, 0.25, "
            r"0.125\] instead of \[0.7, 0.49, 0.343\], .* add method=evit and rho=NUMBER, or",
        ),
        (["method=evit"], r"saved with the ratios \[0.5, 0.25, 0.125\] instead of \[0.7, "),
        (["method=evit", "schedule.locations=[1,2,3]"], r"saved with the ratios \[0.5"),
        (["rho=0.5", "method.selector._partial_=true"], r"saved with method=evit instead of"),
        (["rho=0.5"], r"with method=evit instead of method=query_absorb, .* add method=evit, or"),
        (["method=evit"], r"line has by default: add rho=NUMBER, or"),
        (["method=evit", "rho=0.5"], None),
        (["method=evit", "rho=0.3"], None),
        (["method=tome", "rho=0.3"], None),
    ],
)
def test_a_default_does_not_change_the_student(
    saved: Path, words: list[str], said: str | None
) -> None:
    words = [*words, "backbone=vit_micro"]
    settings = compose_config(words, ["backbone", "method", "schedule"])
    if said is None:
        check_described(str(saved), settings, words)
        return
    with pytest.raises(InputError, match=said) as caught:
        check_described(str(saved), settings, words)
    assert len(caught.value.sentences) == 1


def test_every_program_that_takes_a_checkpoint_asks(saved: Path) -> None:
    words = ["backbone=vit_micro"]
    config = OmegaConf.create(compose_config(words, ["backbone", "method", "schedule"]))
    config.ckpt_path = str(saved)
    with pytest.raises(InputError, match="was saved with method=evit"):
        with_recorded_run(config, words, Checkpoint.read(saved))


@pytest.mark.parametrize(
    ("words", "network"),
    [
        (["backbone=swin_micro"], "swin_tiny_patch4_window7_224.ms_in1k"),
        (["backbone=deit_t", "method=tome", "rho=0.3"], "deit_tiny_patch16_224.fb_in1k"),
    ],
)
def test_another_network_is_named_before_all_else(
    saved: Path, words: list[str], network: str
) -> None:
    settings = compose_config(words, ["backbone", "method", "schedule"])
    said = f"{saved} holds the network vit_micro_patch8_80, and this command line chooses {network}"
    with pytest.raises(InputError, match=f"{said}: give backbone=vit_micro.$"):
        check_described(str(saved), settings, words)


def test_a_method_is_named_as_it_is_typed() -> None:
    for name in sorted(path.stem for path in (CONF / "method").glob("*.yaml")):
        assert method_words(option("method", name)) == f"method={name}"
    changed = option("method", "tome") | {"r": 13, "at_locations": True}
    assert method_words(changed) == "method=tome method.r=13 method.at_locations=true"
    assert method_words(changed | {"r": [13, 8, 3]}) is None
    assert method_words({"_target_": "src.mine.Mine"}) is None


def test_a_network_is_named_as_it_is_typed() -> None:
    swin = "swin_tiny_patch4_window7_224.ms_in1k"
    micro = option("backbone", "swin_micro")["backbone"]["options"]
    assert backbone_words(swin, micro | {"img_size": 80}) == "backbone=swin_micro"
    assert backbone_words(swin, {"img_size": 224}) == "backbone=swin_t"
    assert backbone_words("lvvit_s", {}) == "backbone=lvvit_s"
    assert backbone_words("deit_tiny_patch16_224", {}) in ("backbone=deit_t", "backbone=deit_256")
    assert backbone_words("resnet18", {}) == "backbone.network=resnet18"
