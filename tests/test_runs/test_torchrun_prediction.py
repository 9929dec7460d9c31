"""Processes predict as torchrun would start them; one is killed, and more go on."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.forked import Forked
from tests.helpers import ROOT, one_process, run

IMAGES = 61


def written(folder: Path) -> list[int]:
    lines = [
        line for part in folder.glob(".*.parts/*.jsonl") for line in part.read_text().splitlines()
    ]
    return [json.loads(line)["number"] for line in lines if line.endswith("}")]


@pytest.mark.slow
def test_one_of_two_is_killed_and_three_go_on(tmp_path, monkeypatch):
    (tmp_path / "in").mkdir()
    rng = np.random.default_rng(0)
    for number in range(IMAGES):
        pixels = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "in" / f"{number:02}.png")
    words = ["predict.py", "backbone=vit_micro", "trainer=cpu", f"images={tmp_path / 'in'}"]
    words += ["callbacks.progress=null", "num_workers=0", "batch_size=1"]
    alone, many = tmp_path / "alone.csv", tmp_path / "many.csv"
    with one_process(ROOT):
        assert run([*words, f"predictions={alone}", f"hydra.run.dir={tmp_path}/alone"]) == 0

    def launch(processes: int) -> list[Forked]:
        started = []
        for rank in range(processes):
            for name, value in (("RANK", rank), ("LOCAL_RANK", rank), ("WORLD_SIZE", processes)):
                monkeypatch.setenv(name, str(value))
            run_folder = f"hydra.run.dir={tmp_path}/many"
            started.append(Forked([*words, f"predictions={many}", run_folder]))
        return started

    first = launch(2)
    end = time.monotonic() + 100
    while not written(tmp_path):
        assert first[0].poll() is None, first[0].communicate()
        assert time.monotonic() < end
        time.sleep(0.01)
    for process in first:
        process.kill()
        process.communicate()
    kept = written(tmp_path)
    assert 0 < len(set(kept)) == len(kept) < IMAGES
    assert not many.exists()

    told = [process.communicate(timeout=100) for process in launch(3)]
    numbers = [re.findall(r"Process (\d) of 3: (\d+) photographs", out) for out, _ in told]
    assert [number for ((number, _),) in numbers] == ["1", "2", "3"], told
    assert sum(int(count) for ((_, count),) in numbers) <= IMAGES - len(kept)
    assert many.read_bytes() == alone.read_bytes()
    assert many.read_text().count(".png") == IMAGES
