"""The oldest versions: `make oldest` tests those that pyproject.toml promises."""

from __future__ import annotations

from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[1]


def floors() -> dict[str, Version]:
    """The least version of each package that pyproject.toml names, in any extra."""
    tomllib = pytest.importorskip("tomllib")  # from Python 3.11 on
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lists = [project["dependencies"], *project["optional-dependencies"].values()]
    found: dict[str, Version] = {}
    for each in map(Requirement, (line for lines in lists for line in lines)):
        for bound in each.specifier:
            if bound.operator == ">=":
                found[canonicalize_name(each.name)] = Version(bound.version)
    return found


def pins() -> dict[str, Version]:
    """The versions of constraints/oldest.txt."""
    lines = (ROOT / "constraints/oldest.txt").read_text().splitlines()
    pairs = [line.split("==") for line in lines if not line.startswith("#")]
    return {canonicalize_name(name): Version(version) for name, version in pairs}


def test_the_oldest_versions_tested_are_those_promised() -> None:
    promised, tested = floors(), pins()
    both = promised.keys() & tested.keys()
    assert {name: tested[name] for name in both} == {name: promised[name] for name in both}
    assert tested.keys() - both == {"pyarrow"}  # of `datasets`: its newest wants NumPy 2
