"""A method, task, data set, loss and callback of one's own: train, evaluate, sweep and report."""

from __future__ import annotations

import csv
import json
import runpy
import sys
from pathlib import Path

import pytest
from hydra.core.global_hydra import GlobalHydra

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
CONF = ROOT / "tests" / "extension" / "conf"
CHOICES = ("task=brightness", "method=first_ones", "backbone.weights=null", "trainer=cpu")
QUICK = ("callbacks.progress=null", "throughput_batch=1")
TRAINING = (
    "trainer.max_epochs=1",
    "optimizer.warmup_epochs=0",
    "callbacks.throughput=null",
    "callbacks.token_maps=null",
)


def run(monkeypatch: pytest.MonkeyPatch, program: str, *words: str) -> None:
    GlobalHydra.instance().clear()
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "argv", [f"{program}.py", "--config-dir", str(CONF), *words])
    runpy.run_path(f"{program}.py", run_name="__main__")


@pytest.mark.filterwarnings("ignore")
def test_parts_from_outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(monkeypatch, "train", *CHOICES, *QUICK, *TRAINING, f"hydra.run.dir={tmp_path / 'train'}")
    checkpoint = tmp_path / "train" / "checkpoints" / "last.ckpt"
    words = (f"ckpt_path={checkpoint}", "callbacks=[default,counter]", *QUICK)
    run(monkeypatch, "eval", *words, "rho=0.5", f"hydra.run.dir={tmp_path / 'eval'}")
    row = json.loads((tmp_path / "eval" / "result.json").read_text())
    assert row["task"] == {"metric": "close", "label": "within 0.2 (%)", "metrics": ["close"]}
    assert (row["method"], row["rho"]) == ("first_ones", 0.5)
    assert (tmp_path / "eval" / "batches.txt").read_text() == "4"

    sweep = tmp_path / "sweep"
    words = (*CHOICES, *QUICK, "rho=0.5,0.7", f"hydra.sweep.dir={sweep}")
    run(monkeypatch, "eval", "-m", *words)
    with (sweep / "pareto.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["rho"] for row in rows] == ["0.5", "0.7"]
    assert all(0 <= float(row["close"]) <= 100 for row in rows)
    assert "within 0.2 (%)" in (sweep / "report.html").read_text()
