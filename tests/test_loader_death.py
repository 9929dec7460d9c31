"""A loader process that dies ends the run; it does not hang."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.helpers import ROOT

pytestmark = pytest.mark.slow


def loaders_of(process: subprocess.Popen) -> list[int]:
    """Its children that run the same program."""
    try:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        commands = [Path(f"/proc/{child}/cmdline").read_bytes() for child in children]
    except FileNotFoundError:  # one ended meanwhile
        return []
    return [int(c) for c, line in zip(children, commands, strict=True) if b"train.py" in line]


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="children are found in /proc")
def test_a_killed_loader_ends_the_run_with_a_sentence(tmp_path):
    command = [sys.executable, "train.py", "debug=smoke", f"hydra.run.dir={tmp_path}"]
    endless = ["trainer.max_epochs=100000", "datamodule.num_workers=2", "callbacks.progress=null"]
    quiet = ["callbacks.throughput=null", "callbacks.token_maps=null", "callbacks.complexity=null"]
    process = subprocess.Popen(
        [*command, *endless, *quiet],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        end = time.monotonic() + 120
        while not (tmp_path / "checkpoints" / "last.ckpt").is_file() or not loaders_of(process):
            assert process.poll() is None, process.stderr.read()
            assert time.monotonic() < end
            time.sleep(0.05)
        os.kill(loaders_of(process)[0], signal.SIGKILL)
        _, told = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 2
    assert "Traceback" not in told
    assert told.strip().splitlines()[-1].startswith("error: DataLoader worker (pid")
