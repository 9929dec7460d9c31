"""Every logger, callback and plugin in conf is built as a run builds it, a resumed one too."""

from __future__ import annotations

from pathlib import Path

import lightning as L
import pytest
from lightning.pytorch.loggers import Logger
from omegaconf import OmegaConf

from src.config import instantiate
from src.errors import InputError
from src.loggers.wandb import ContinuedWandbLogger
from src.runs.settings import config_faults
from tests.test_configs import composed, names

PARTS = [(group, name) for group in ("logger", "callbacks") for name in names(group)]


# Loggers alone know of a resumed run; eval.py is given a file or none.
CASES = [
    (app, group, name, resumed)
    for group, name in PARTS
    for app, resumed in (
        ("train", "null"),
        ("train", "last"),
        ("eval", "FILE"),
        *([("train", "FILE"), ("eval", "null")] if group == "logger" else []),
    )
]


@pytest.mark.parametrize(("app", "group", "name", "resumed"), CASES)
def test_every_part_builds(app: str, group: str, name: str, resumed: str, tmp_path: Path) -> None:
    file = tmp_path / "a.ckpt"
    file.touch()
    path = str(file) if resumed == "FILE" else resumed
    config = composed(
        app, f"{group}=[{name}]", f"ckpt_path='{path}'" if path != "null" else "seed=1"
    )
    assert not config_faults(config)
    config.paths.run = str(tmp_path)
    settings = OmegaConf.to_container(config, resolve=True)
    assert isinstance(settings, dict)
    for part in settings[group].values():
        if part.get("path", "") is None:
            part["path"] = "file"  # an output of eval.py, which is asked for by its path
        try:
            built = instantiate(part)
        except InputError as error:
            assert name == "tensorboard"  # an optional package
            pytest.skip(str(error))
        assert isinstance(built, Logger if group == "logger" else L.Callback)


@pytest.mark.parametrize("name", names("trainer"))
def test_every_plugin_builds(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = OmegaConf.to_container(composed("train", f"trainer={name}"), resolve=True)
    assert isinstance(settings, dict)
    for plugin in settings["trainer"].get("plugins") or []:
        assert instantiate(plugin)


def test_a_resumed_run_finds_its_own_run_in_wandb_only(tmp_path: Path) -> None:
    config = composed("train", "logger=[wandb]", "ckpt_path=last")
    config.paths.run = str(tmp_path / "run")
    earlier = tmp_path / "run" / "wandb" / "offline-run-20260102_030405-abc"
    earlier.mkdir(parents=True)
    (earlier / "run-abc.wandb").touch()
    for folder, known in (("run", "abc"), ("evaluation", None)):
        config.paths.run = str(tmp_path / folder)
        settings = OmegaConf.to_container(config.logger.wandb, resolve=True)
        logger = instantiate(settings)
        assert isinstance(logger, ContinuedWandbLogger)
        assert logger._wandb_init["id"] == known
