"""A report's heading on the command line is text and changes nothing else."""

from __future__ import annotations

import pytest
from omegaconf import OmegaConf

from src.runs import cell
from src.runs.folders import sweep_name
from src.shell.arguments import for_hydra, parsed


@pytest.mark.parametrize("title", ["Two schedules, three seeds", "A: it's (b)", "7", "a, b=c"])
def test_a_title_is_text(title: str) -> None:
    (word,) = for_hydra([f"title={title}"])
    override = parsed(word)
    assert override is not None
    assert not override.is_sweep_override()
    assert override.value() == title
    assert for_hydra([word]) == [word]


def test_no_title_stays_none() -> None:
    assert for_hydra(["title=null", "method=evit,tome"]) == ["title=null", "method=evit,tome"]


def test_a_title_names_no_folder_and_is_no_setting() -> None:
    assert sweep_name(["-m", "rho=0.5,0.7", "title=Seeds"]) == "rho=0.5,0.7"
    assert cell._settings(OmegaConf.create({"rho": 0.5, "title": "Seeds"})) == {"rho": 0.5}
