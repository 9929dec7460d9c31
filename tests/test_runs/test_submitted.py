"""Processes of submitit on one machine find their place."""

import os

import pytest
from lightning.pytorch.utilities import rank_zero_only

from src.runs.submitted import join_submitted_job

PLACE = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


def started(monkeypatch, tasks):
    """Be the last of the tasks of a job."""
    environment = {name: value for name, value in os.environ.items() if name not in PLACE}
    environment |= {
        "SUBMITIT_EXECUTOR": "local",
        "SUBMITIT_LOCAL_JOB_ID": "7",
        "SUBMITIT_LOCAL_NTASKS": str(tasks),
        "SUBMITIT_LOCAL_JOB_NUM_NODES": "1",
        "SUBMITIT_LOCAL_NODEID": "0",
        "SUBMITIT_LOCAL_LOCALID": str(tasks - 1),
        "SUBMITIT_LOCAL_GLOBALID": str(tasks - 1),
    }
    monkeypatch.setattr(os, "environ", environment)
    monkeypatch.setattr(rank_zero_only, "rank", 0)
    join_submitted_job()
    return environment


def test_a_process_of_several_learns_its_place(monkeypatch):
    pytest.importorskip("submitit")
    environment = started(monkeypatch, 3)
    assert [environment[name] for name in PLACE[:5]] == ["2", "2", "3", "3", "127.0.0.1"]
    assert 1023 < int(environment["MASTER_PORT"]) < 65536
    assert rank_zero_only.rank == 2
    join_submitted_job()  # again for another cell: it has a place already


def test_one_process_stays_alone(monkeypatch):
    assert "LOCAL_RANK" not in started(monkeypatch, 1)
