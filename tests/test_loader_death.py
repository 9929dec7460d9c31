"""A loader process that dies ends the run; it does not hang."""

import os
import signal
import time
from pathlib import Path

import pytest

from tests.forked import Forked

pytestmark = pytest.mark.slow


def loaders_of(process: Forked) -> list[int]:
    """Its children that run the same program."""

    def line(pid: int) -> bytes:
        return Path(f"/proc/{pid}/cmdline").read_bytes()

    try:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        return [pid for pid in map(int, children) if line(pid) == line(process.pid)]
    except FileNotFoundError:  # one ended meanwhile
        return []


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="children are found in /proc")
def test_a_killed_loader_ends_the_run_with_a_sentence(tmp_path):
    command = ["train.py", "debug=smoke", f"hydra.run.dir={tmp_path}"]
    endless = ["trainer.max_epochs=100000", "datamodule.num_workers=2", "callbacks.progress=null"]
    quiet = ["callbacks.throughput=null", "callbacks.token_maps=null", "callbacks.complexity=null"]
    process = Forked([*command, *endless, *quiet])
    try:
        end = time.monotonic() + 120
        while not (tmp_path / "checkpoints" / "last.ckpt").is_file() or not loaders_of(process):
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < end
            time.sleep(0.05)
        os.kill(loaders_of(process)[0], signal.SIGKILL)
        _, told = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 2
    assert "Traceback" not in told
    assert told.strip().splitlines()[-1].startswith("error: DataLoader worker (pid")
