"""A program declares which settings are paths, and closes its log when it ends."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from types import ModuleType

import pytest
from omegaconf import DictConfig

from src.runs.command import start
from tests.helpers import one_process

seen: list[object] = []


def main(config: DictConfig) -> None:
    """Keep what arrives."""
    seen.append(config.images)
    logging.getLogger("src").info("a line")


@pytest.mark.parametrize(("paths", "arrives"), [(("images",), "a (1), b"), ((), ["a", "b"])])
def test_a_program_says_which_settings_are_paths(
    paths: tuple[str, ...], arrives: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = ModuleType("a_program", "Help.")
    program.__dict__["PATHS"] = paths
    monkeypatch.setitem(sys.modules, "a_program", program)
    monkeypatch.setattr(main, "__module__", "a_program")
    seen.clear()
    with one_process(tmp_path):
        sys.argv = ["a_program", f"images={arrives if paths else '[a,b]'}", "hydra.run.dir=out"]
        start("predict", main)
        left = [one for one in logging.getLogger().handlers if isinstance(one, logging.FileHandler)]
    assert seen == [arrives]
    assert not left
    assert "a line" in (tmp_path / "out" / "a_program.log").read_text()
