"""A folder that holds a training is gone on with, moved or refused, and never overwritten."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
import torch

from tests.test_bad_inputs import ROOT, SMALL, one_process, run, sentence_in

pytestmark = pytest.mark.slow


def train(*words: object) -> int:
    with one_process(ROOT):
        return run([ROOT / "train.py", *SMALL.split(), *words])


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (folder / "checkpoints").iterdir()}


def test_a_new_training_replaces_no_earlier_one(tmp_path, capfd):
    first = tmp_path / "first"
    assert train(f"hydra.run.dir={first}") == 0
    before, rows = contents(first), (first / "csv" / "metrics.csv").read_bytes()
    assert train(f"hydra.run.dir={first}") == 2
    sentence = sentence_in(capfd.readouterr().err)
    assert f"{first}/checkpoints holds best.ckpt, last.ckpt of an earlier training" in sentence
    assert "ckpt_path=last, or give another hydra.run.dir" in sentence
    assert contents(first) == before
    assert (first / "csv" / "metrics.csv").read_bytes() == rows
    # A cell of a sweep decides by itself what to go on with, here under other settings.
    cell = ["-m", f"hydra.sweep.dir={tmp_path}", "hydra.sweep.subdir=first", "seed=7"]
    assert train(*cell) == 0
    assert contents(first) != before


def test_a_run_that_was_moved_keeps_a_better_best(tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    assert train(f"hydra.run.dir={first}") == 0
    path = first / "checkpoints" / "last.ckpt"
    content = torch.load(path, weights_only=True)
    for state in content["callbacks"].values():
        for name in state.get("best_k_models", {}):  # as if nothing could be better
            score = torch.tensor(101.0)
            state.update(best_k_models={name: score}, kth_value=score, best_model_score=score)
    torch.save(content, path)
    first.rename(second)
    before = contents(second)
    more = f"trainer.max_epochs={content['epoch'] + 2}"
    assert train(f"hydra.run.dir={second}", "ckpt_path=last", more) == 0
    assert contents(second)["best.ckpt"] == before["best.ckpt"]
    assert contents(second)["last.ckpt"] != before["last.ckpt"]


def test_a_training_that_is_never_validated_is_saved_and_warned_of(tmp_path, capfd):
    assert train(f"hydra.run.dir={tmp_path}", "+trainer.check_val_every_n_epoch=3") == 0
    told = capfd.readouterr().err
    assert "check_val_every_n_epoch=3 is more than trainer.max_epochs=2: nothing is vali" in told
    assert contents(tmp_path).keys() == {"last.ckpt"}


def test_an_epoch_goes_on_with_a_smaller_batch(tmp_path):
    words = ["~trainer.limit_train_batches", "datamodule.train_images=8"]
    words += ["callbacks.recent.steps=3"]
    first, second = tmp_path / "first", tmp_path / "second"
    assert train(*words, f"hydra.run.dir={first}") == 0
    recent = first / "checkpoints" / "recent.ckpt"
    assert torch.load(recent, weights_only=True)["global_step"] == 6  # half of the second epoch
    words += ["datamodule.batch_size=1", f"ckpt_path={recent}"]
    assert train(*words, f"hydra.run.dir={second}") == 0
    last = torch.load(second / "checkpoints" / "last.ckpt", weights_only=True)
    assert last["global_step"] == 6 + 4
    (course,) = last["lr_schedulers"]
    assert course["last_epoch"] == 2 * 8
    with (second / "csv" / "metrics.csv").open(newline="") as file:
        assert [row["step"] for row in csv.DictReader(file) if row["val/acc1"]] == ["9"]
