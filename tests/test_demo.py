"""`make demo` starts: its settings resolve without what train.py does for its own."""

import subprocess
import sys

import pytest

from tests.helpers import ROOT

pytestmark = pytest.mark.slow


def test_its_settings_resolve():
    command = [sys.executable, "demo.py", "rho=0.5", "--cfg", "job", "--resolve"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert "rho: 0.5" in result.stdout
    assert "tokenthrift.cell" not in result.stdout
