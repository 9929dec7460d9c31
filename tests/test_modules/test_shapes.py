"""Shapes in annotations of `layers` and `methods` hold wherever their tests go."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.helpers import ROOT

CHECKED = "--jaxtyping-packages=src.modules.layers,src.modules.methods,beartype.beartype"
FILES = ("layers", "attention_bias", "relative_positions", "selection", "methods", "spatial")

# Tests that give other types, to be refused by a sentence; other families and batches, which come
# to `layers` and `methods` as the same shapes.
LEFT_OUT = ("refuse", "[eva-", "[lvvit-", "-1]", "-3]", "unscaled", "conv_mlp", "norm_first")


@pytest.mark.slow
def test_annotated_shapes_hold() -> None:
    pytest.importorskip("beartype")
    files = [f"tests/test_modules/test_{name}.py" for name in FILES]
    values = ["-k", " and ".join(f"not {word}" for word in LEFT_OUT)]
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-n", "0", CHECKED, *files, *values]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout[-4000:]
