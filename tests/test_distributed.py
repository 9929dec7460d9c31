"""Several processes, on CPU."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def test_a_thawed_backbone_is_synchronized(tmp_path):
    result = subprocess.run(
        [sys.executable, str(ROOT / "tests" / "ddp_freeze.py"), str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert result.returncode == 0, result.stderr
    for rank in (0, 1):
        assert f"rank {rank} moved True equal True" in result.stdout
