"""A training that goes on with another number of processes says so."""

from pathlib import Path

from src.checkpoints.checkpoint import Checkpoint
from src.runs.resuming import other_processes


def test_another_number_of_processes_is_said():
    saved = Checkpoint(Path("last.ckpt"), {"run": {"config": {}, "processes": 2}})
    assert "it was 2 and is 1" in other_processes(saved, 1)
    assert not other_processes(saved, 2)
    assert not other_processes(Checkpoint(Path("old.ckpt"), {"run": {"config": {}}}), 2)
