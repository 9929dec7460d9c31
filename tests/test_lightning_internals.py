"""What Lightning keeps private is touched in one file; what that file says of Lightning holds."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import lightning
import pytest

from tests.helpers import ROOT

ALLOWED = ROOT / "src" / "lightning_internals.py"
# Attributes without an underscore that Lightning's documentation does not offer.
UNDOCUMENTED = {"fit_loop", "epoch_loop", "batch_progress", "epoch_progress", "configure_ddp"}
PRIVATE = re.compile(r"\b_[a-z]\w*")


@cache
def private_names() -> frozenset[str]:
    """Every private name that occurs in Lightning's source."""
    folder = Path(lightning.__file__).parent
    files = [*(folder / "pytorch").rglob("*.py"), *(folder / "fabric").rglob("*.py")]
    return frozenset(name for file in files for name in PRIVATE.findall(file.read_text()))


def of_instance(node: ast.expr) -> bool:
    is_self = isinstance(node, ast.Name) and node.id in ("self", "cls")
    return is_self or ast.unparse(node).startswith("super(")


def touched(source: str) -> Iterator[str]:
    """The private parts of Lightning that a file's text touches, on objects other than its own."""
    tree = ast.parse(source)
    if not any("lightning" in ast.unparse(n) for n in ast.walk(tree) if is_import(n)):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("lightning."):
            names = [*(node.module or "").split("."), *(alias.name for alias in node.names)]
            yield from (name for name in names if name.startswith("_"))
        if isinstance(node, ast.Attribute):
            foreign = node.attr in private_names() and not of_instance(node.value)
            if foreign or node.attr in UNDOCUMENTED:
                yield node.attr
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("getattr", "setattr"):
            name = node.args[1]
            if isinstance(name, ast.Constant) and name.value in private_names() | UNDOCUMENTED:
                yield str(name.value)


def is_import(node: ast.AST) -> bool:
    return isinstance(node, (ast.Import, ast.ImportFrom))


def inherited(kind: type) -> set[str]:
    """The private names of Lightning's classes that a class of this package uses as its own."""
    theirs = [base for base in kind.__mro__ if base.__module__.startswith("lightning.")]
    taken = {name for base in theirs for name in PRIVATE.findall(inspect.getsource(base))}
    own = ast.parse(inspect.cleandoc("\n" + inspect.getsource(kind)))
    used = {n.attr for n in ast.walk(own) if isinstance(n, ast.Attribute) and of_instance(n.value)}
    made = {n.name for n in ast.walk(own) if isinstance(n, ast.FunctionDef)}
    return (used | made) & taken


def files() -> list[Path]:
    return sorted(path for path in (ROOT / "src").rglob("*.py") if path != ALLOWED)


def test_one_file_touches_what_lightning_keeps_private() -> None:
    found = {path.name: set(touched(path.read_text())) for path in files()}
    assert not {name: parts for name, parts in found.items() if parts}
    assert {"epoch_loop", "_signal_connector", "_save_checkpoint"} <= set(
        touched("import lightning\n" + ALLOWED.read_text())
    )


@pytest.mark.parametrize(
    "source",
    [
        "trainer.fit_loop.epoch_loop",
        "trainer._results",
        "getattr(trainer, '_signal_connector')",
        "from lightning.pytorch.loops.fit_loop import _FitLoop",
        "from lightning.pytorch.trainer.connectors.signal_connector import _SignalConnector",
    ],
)
def test_a_touch_is_found(source: str) -> None:
    assert list(touched(f"import lightning\n{source}"))


@pytest.mark.parametrize("folder", ["callbacks", "loggers", "datamodules", "modules"])
def test_no_subclass_uses_what_lightning_keeps_private(folder: str) -> None:
    seen = []
    for path in files():
        if path.parent.name != folder or "lightning" not in path.read_text():
            continue
        module = importlib.import_module(f"src.{folder}.{path.stem}")
        for kind in vars(module).values():
            if isinstance(kind, type) and kind.__module__ == module.__name__:
                seen.append(kind)
                assert not inherited(kind), kind
    assert seen
