"""Three processes evaluate as one does: each image once, and one table."""

from __future__ import annotations

import json
import socket

import pytest

from tests.forked import Forked
from tests.helpers import ROOT, one_process, run


@pytest.mark.slow
def test_three_processes_count_each_image_once(tmp_path, monkeypatch):
    words = ["eval.py", "backbone=vit_micro", "datamodule.batch_size=3"]
    words += ["datamodule.val_images=10", "callbacks.progress=null", "throughput_batch=1"]

    with one_process(ROOT):  # and what it imports need not be imported by the others
        assert run([*words, "trainer=cpu", f"hydra.run.dir={tmp_path / 'alone'}"]) == 0
    with socket.socket() as free:
        free.bind(("", 0))
        monkeypatch.setenv("MASTER_PORT", str(free.getsockname()[1]))
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    words += ["trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=3"]
    words += ["trainer.precision=32-true", f"hydra.run.dir={tmp_path / 'many'}"]
    processes = []
    for rank in range(3):
        monkeypatch.setenv("LOCAL_RANK", str(rank))
        processes.append(Forked(words))
    tables = 0
    for process in processes:
        out, told = process.communicate(timeout=100)
        assert process.returncode == 0, told
        tables += out.count("acc1")
    assert tables == 1
    one, three = (
        json.loads((tmp_path / name / "result.json").read_text()) for name in ("alone", "many")
    )
    assert [one[name] for name in ("acc1", "acc5")] == [three[name] for name in ("acc1", "acc5")]
