"""Checkpoints that an earlier version wrote: the same numbers, read once, and trained on."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path
from typing import Any

import pytest
from hydra.core.global_hydra import GlobalHydra

from src.checkpoints import checkpoint
from tests.helpers import ROOT

pytestmark = pytest.mark.slow
FORMER = ROOT / "tests" / "checkpoints"
QUICK = ("trainer=cpu", "callbacks.progress=null", "datamodule.val_images=64")
RESUMED = (
    "backbone.weights=null",
    "datamodule.batch_size=8",
    "optimizer.warmup_epochs=0",
    "trainer.max_epochs=2",
    "+trainer.limit_train_batches=4",
    "+trainer.limit_val_batches=1",
    "callbacks.freeze_backbone.epochs=0",
    "callbacks.throughput=null",
    "callbacks.complexity=null",
    "callbacks.token_maps=null",
)


@pytest.fixture
def readings(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files that are read, in order."""
    files: list[Path] = []
    read = checkpoint.read_file

    def counted(path: Any) -> Any:
        files.append(Path(path))
        return read(path)

    monkeypatch.setattr(checkpoint, "read_file", counted)
    return files


def run(monkeypatch: pytest.MonkeyPatch, program: str, *words: str) -> None:
    GlobalHydra.instance().clear()
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "argv", [f"{program}.py", *QUICK, *words])
    runpy.run_path(f"{program}.py", run_name="__main__")


@pytest.mark.parametrize("name", sorted(path.stem for path in FORMER.glob("*.ckpt")))
def test_a_former_checkpoint_evaluates_to_the_same_numbers(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, readings: list[Path]
) -> None:
    file, predictions = FORMER / f"{name}.ckpt", tmp_path / "predictions.csv"
    words = ("datamodule.batch_size=8", "throughput_batch=1", f"hydra.run.dir={tmp_path}")
    run(monkeypatch, "eval", f"ckpt_path={file}", f"predictions={predictions}", *words)
    row = json.loads((tmp_path / "result.json").read_text())
    for key, value in json.loads((FORMER / f"{name}.json").read_text()).items():
        assert row[key] == (pytest.approx(value) if isinstance(value, float) else value)
    lines, wanted = (
        [line.split(",") for line in path.read_text().splitlines()[1:]]
        for path in (predictions, FORMER / f"{name}.csv")
    )
    assert [line[:3] for line in lines] == [line[:3] for line in wanted]
    assert [float(line[3]) for line in lines] == pytest.approx(
        [float(w[3]) for w in wanted], abs=2e-4
    )
    assert readings == [file]


def test_a_former_training_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, readings: list[Path]
) -> None:
    file = FORMER / "vit.ckpt"
    network = ("+backbone.options.embed_dim=24", "+backbone.options.depth=4")
    words = ("method=dynamicvit", *network, "backbone.locations=[1,2]", f"hydra.run.dir={tmp_path}")
    run(monkeypatch, "train", f"ckpt_path={file}", *words, *RESUMED)
    steps, _ = checkpoint.Checkpoint.read(tmp_path / "checkpoints" / "last.ckpt").progress
    assert steps == 8
    assert 1 <= readings.count(file) <= 2


def test_a_file_that_was_written_anew_is_read_anew(tmp_path: Path, readings: list[Path]) -> None:
    file = tmp_path / "a.ckpt"
    file.write_bytes((FORMER / "vit.ckpt").read_bytes())
    first = checkpoint.Checkpoint.read(file)
    first.hand_over()
    assert checkpoint.taken(file) is first
    assert checkpoint.taken(file) is not first  # handed over once
    first.hand_over()
    file.write_bytes((FORMER / "convnext.ckpt").read_bytes())
    other = checkpoint.taken(file)
    assert (
        other.tensors.keys() == checkpoint.Checkpoint.read(FORMER / "convnext.ckpt").tensors.keys()
    )
    assert readings.count(file) == 3
