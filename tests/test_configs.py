"""Every yaml composes, names what exists and builds; every recipe says how it is run."""

from __future__ import annotations

import inspect
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import hydra.utils
import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

from src.errors import InputError
from src.modules.methods.base import SpatialRouting, TokenReduction
from src.modules.optim import known_settings
from src.modules.student import build_student
from src.modules.weighted_loss import build_loss
from src.runs.settings import check_config

ROOT = Path(__file__).parents[1]
CONF = ROOT / "conf"
APPS = tuple(sorted(path.stem for path in CONF.glob("*.yaml")))  # a program of Hydra each
FILES = sorted(CONF.rglob("*.yaml"))
RECIPES = sorted(p for group in ("experiment", "ablation") for p in (CONF / group).glob("*.yaml"))
# What a user has to give where an option asks for it.
GIVEN = {"schedule.ratios": [0.7, 0.5, 0.3], "datamodule.num_classes": 21}


def relative(path: Path) -> str:
    return str(path.relative_to(CONF))


def names(group: str) -> list[str]:
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


MICRO = ("vit_micro", "swin_micro", "convnext_micro")
GROUPS = sorted(path.name for path in CONF.iterdir() if path.is_dir())
OPTIONS = [(group, name) for group in GROUPS for name in names(group)]
# An option is the same file for every application, whose own defaults meet each group once more.
COMPOSED = [
    *(("train", *option) for option in OPTIONS),
    *((app, group, names(group)[-1]) for app in APPS if app != "train" for group in GROUPS),
]


def composed(app: str, *overrides: str) -> DictConfig:
    """The configuration of an entry point, without what only a run knows and files it needs."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose(app, [*overrides, "paths.run=run", "paths.name=name"])
    for key in OmegaConf.missing_keys(config):
        OmegaConf.update(config, key, GIVEN[key])
    config.backbone.weights = None
    return config


def test_all_files_are_seen() -> None:
    grouped = {f"{group}/{name}.yaml" for group, name in OPTIONS}
    assert {relative(path) for path in FILES} == grouped | {f"{app}.yaml" for app in APPS}


@pytest.mark.parametrize(("app", "group", "name"), COMPOSED)
def test_every_option_composes(
    app: str, group: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)  # trainer=gpu is valid somewhere
    task = ["task=segmentation"] if group == "head" else []  # classification has none
    config = composed(app, *task, f"{group}={name}")
    OmegaConf.to_container(config, resolve=True)
    check_config(config)


def targets(node: Any) -> Iterator[dict[str, Any]]:
    """Every dictionary with a `_target_`, however deep."""
    if isinstance(node, dict):
        if "_target_" in node:
            yield node
        for value in node.values():
            yield from targets(value)


@pytest.mark.parametrize("path", FILES, ids=relative)
def test_targets_exist_and_take_the_settings(path: Path) -> None:
    for node in targets(OmegaConf.to_container(OmegaConf.load(path), resolve=False)):
        if path.parent.name == "optimizer" and node["_target_"].startswith("torch."):
            assert {str(key) for key in node} <= known_settings(node)
            continue
        target = OmegaConf.create({"_target_": node["_target_"]})["_target_"]  # resolves it
        parameters = inspect.signature(hydra.utils.get_object(target)).parameters
        if any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values()):
            continue  # they go on to a base class
        weight = {"weight"} if path.parent.name in ("loss", "ablation", "experiment") else set()
        settings = {key for key in node if not key.startswith("_")} - weight
        assert settings <= parameters.keys(), node["_target_"]


def suits(backbone: str, method: str) -> bool:
    kind = SpatialRouting if backbone.startswith(("swin", "convnext")) else TokenReduction
    target = OmegaConf.load(CONF / "method" / f"{method}.yaml")._target_
    made = hydra.utils.get_object(target)
    windowed = backbone.startswith("swin") or not getattr(made, "needs_windows", False)
    return issubclass(made, kind) and windowed and not getattr(made, "needs_clips", False)


def learns_by_summaries(method: str) -> bool:
    settings = OmegaConf.to_container(OmegaConf.load(CONF / "method" / f"{method}.yaml"))
    kinds = (hydra.utils.get_object(node["_target_"]) for node in targets(settings))
    return any(getattr(kind, "learns_by_summaries", False) for kind in kinds)


SUITED = [pair for pair in product(MICRO, names("method")) if suits(*pair)]
UNSUITED = [("vit_micro", "asymmetric"), ("swin_micro", "tome"), ("convnext_micro", "windows")]
STUDENTS = [
    *((*pair, "linear") for pair in [*SUITED, *UNSUITED]),
    *product(["vit_micro"], ["dynamicvit", "tome"], names("schedule")),
    *product(["swin_micro"], ["asymmetric"], names("schedule")),
]


@pytest.mark.parametrize(("backbone", "method", "schedule"), STUDENTS)
def test_every_student_builds_and_classifies(backbone: str, method: str, schedule: str) -> None:
    overrides = (f"backbone={backbone}", f"method={method}", f"schedule={schedule}")
    parts = OmegaConf.to_container(composed("train", *overrides), resolve=True)
    assert isinstance(parts, dict)
    facts = parts["backbone"] | {"pretrained": False}
    plan = facts, parts["method"], parts["schedule"]
    with torch.device("meta"):
        if not suits(backbone, method):
            with pytest.raises(InputError, match=r"choose a (token )?method"):
                build_student(*plan, num_classes=7)
            return
        student = build_student(*plan, num_classes=7).eval()
        output = student(torch.empty(2, 3, facts["image_size"], facts["image_size"]))
    assert output.logits.shape == (2, 7)
    assert len(output.decisions) == len(student.method.schedule.locations)


@pytest.mark.parametrize("backbone", names("backbone"))
def test_a_backbone_chooses_what_suits_it(backbone: str) -> None:
    parts = OmegaConf.to_container(composed("train", f"backbone={backbone}"), resolve=True)
    assert isinstance(parts, dict)
    facts = parts["backbone"] | {"pretrained": False}
    with torch.device("meta"):
        student = build_student(facts, parts["method"], parts["schedule"], num_classes=7)
    assert student.method.schedule.locations
    assert build_loss(parts["loss"]).needs_token_logits == student.classifies_tokens


@pytest.mark.parametrize("loss", names("loss"))
def test_every_loss_builds(loss: str) -> None:
    terms = OmegaConf.to_container(composed("train", f"loss={loss}").loss, resolve=True)
    assert isinstance(terms, dict)
    assert set(build_loss(terms).weights) == {n for n, term in terms.items() if term["weight"]}


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_is_headed_by_its_command(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    header = "".join(re.findall(r"\A(?:#.*\n)+", path.read_text()))
    commands = re.findall(r"python train\.py ([^)\n]*)", header)
    assert commands, "the header says no command"
    for command in commands:
        words = shlex.split(command)
        assert f"{path.parent.name}={path.stem}" in words
        check_config(composed("train", *words))


@pytest.mark.parametrize("app", APPS)
def test_help_is_light_and_lists_the_choices(app: str) -> None:
    program = (
        "import runpy, sys\n"
        f"sys.argv = ['tokenthrift.py', '{app}', '--help']\n"
        "try:\n"
        "    runpy.run_path('tokenthrift.py', run_name='__main__')\n"
        "except SystemExit:\n"
        "    pass\n"
        "heavy = {'torch', 'timm', 'lightning', 'numpy', 'wandb'} & sys.modules.keys()\n"
        "assert not heavy, heavy\n"
    )
    command = [sys.executable, "-c", program]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    for name in names("backbone"):
        assert name in result.stdout
