"""The tree: packages import downwards, files in no circle, the library without the framework."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SRC = ROOT / "src"
# From the ground up; a package imports from those before it and from itself.
FLOORS = (
    *("errors", "ranges", "files", "lightning_internals", "config", "shell", "checkpoints"),
    *("datamodules", "measure"),
    *("modules", "pictures", "loggers", "reports", "predictions", "callbacks", "runs", "export"),
    *("bench", "app", "programs", "__main__"),
)


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts).removesuffix(".__init__")


FILES = {name_of(path): path for path in SRC.rglob("*.py")}


def imports(name: str, path: Path) -> Iterator[str]:
    """The files of this package that a file imports, those inside its functions too."""
    package = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
    tree = ast.parse(path.read_text())
    hidden = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if not isinstance(node, ast.ImportFrom) or id(node) in hidden or not node.level:
            continue
        base = ".".join(package[: len(package) - node.level + 1])
        module = f"{base}.{node.module}" if node.module else base
        for alias in node.names:
            inner = f"{module}.{alias.name}"
            yield inner if inner in FILES else module


ARROWS = {name: set(imports(name, path)) - {name} for name, path in FILES.items()}


def test_no_file_imports_itself_by_way_of_others() -> None:
    try:
        TopologicalSorter(ARROWS).prepare()
    except CycleError as error:
        raise AssertionError(f"files import each other in a circle: {error.args[1]}") from None


def test_packages_import_downwards() -> None:
    known = {name.split(".")[1] for name in FILES if "." in name}
    assert known == set(FLOORS)
    upward = [
        f"{name} -> {other}"
        for name, others in ARROWS.items()
        for other in others
        if "." in name and "." in other
        if FLOORS.index(other.split(".")[1]) > FLOORS.index(name.split(".")[1])
    ]
    assert not upward
    assert sum(map(len, ARROWS.values())) > 300  # the reading itself works


@pytest.mark.slow
def test_the_library_loads_no_framework() -> None:
    code = """
import sys, timm
network = timm.create_model("deit_tiny_patch16_224", depth=4)
before = set(sys.modules)  # timm imports wandb by itself, where it is installed
import tokenthrift
assert tokenthrift.sparsify(network, rho=0.5).rho == 0.5
assert tokenthrift.sparsify(network, method="tome", r=3).method.r == 3
loaded = {name.partition(".")[0] for name in set(sys.modules) - before}
print(*loaded & {"hydra", "omegaconf", "lightning", "torchmetrics", "wandb", "matplotlib"})
import tokenthrift.modules.student, src.modules.student
assert tokenthrift.modules.student is src.modules.student
"""
    ended = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert ended.stdout.strip() == ""
