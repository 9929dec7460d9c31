"""The csv of a run goes on, whatever has become of the file."""

from __future__ import annotations

import csv
import logging
from pathlib import Path

import pytest

from src.loggers.csv import ContinuedCSVLogger
from src.shell.program import sentences_of

OLD = b"a,b,step\r\n1.5,,0\r\n,2.5,1\r\n3.5,,2\r\n"


def resume(folder: Path, step: int, **metrics: float) -> list[dict[str, str]]:
    logger = ContinuedCSVLogger(folder, name=None, version="", flush_logs_every_n_steps=1)
    logger.log_metrics(metrics, step)
    logger.finalize("success")
    with (folder / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_rows_that_are_trained_again_are_written_anew(tmp_path):
    (tmp_path / "metrics.csv").write_bytes(OLD)
    assert resume(tmp_path, 2, a=9.0) == [
        {"a": "1.5", "b": "", "step": "0"},
        {"a": "", "b": "2.5", "step": "1"},
        {"a": "9.0", "b": "", "step": "2"},
    ]


def test_columns_are_sorted_and_grow(tmp_path):
    logger = ContinuedCSVLogger(tmp_path, name=None, version="", flush_logs_every_n_steps=1)
    logger.log_hyperparams({"rho": 0.5})
    for step, metrics in enumerate(({"z": 1.0}, {"z": 2.0}, {"b": 3.0})):
        logger.log_metrics(metrics, step)
    lines = (tmp_path / "metrics.csv").read_text().splitlines()
    assert lines == ["b,step,z", ",0,1.0", ",1,2.0", "3.0,2,"]
    assert "rho: 0.5" in (tmp_path / "hparams.yaml").read_text()


@pytest.mark.parametrize(
    ("damaged", "kept"),
    [
        (OLD[:-8] + b"3.", [0, 1]),  # without its step
        (OLD[:-2], [0, 1]),  # whether the last digit is the last, nobody knows
        (OLD[:-7], [0, 1]),
        (OLD + b"4,4,3,4\r\n5,,4\r\n", [0, 1, 2, 4]),
        (OLD.replace(b",2.5,1", b",2.5"), [0, 2]),
        (OLD.replace(b",2.5,1", b",\0\0,1"), [0, 2]),
        (OLD.replace(b",2.5,1", b",2.5,x"), [0, 2]),
        (OLD.replace(b"step", b"stop"), []),
        (OLD.replace(b"a,b,step", b"a,step,step"), []),
        (bytes(range(256)), []),
        (b"\0" * 4096, []),
        (b"a,b,st", []),
    ],
)
def test_a_damaged_file_keeps_its_good_rows(damaged, kept, tmp_path, caplog):
    (tmp_path / "metrics.csv").write_bytes(damaged)
    good = {0: "1.5", 1: "", 2: "3.5", 4: "5"}
    with caplog.at_level(logging.WARNING, "src"):
        rows = resume(tmp_path, 7, a=7.0)
    assert [int(row["step"]) for row in rows] == [*kept, 7]
    assert [row["a"] for row in rows] == [*(good[step] for step in kept), "7.0"]
    (warning,) = caplog.messages
    assert f"{tmp_path / 'metrics.csv'} is damaged" in warning


@pytest.mark.parametrize("content", [b"", b"a,step\r\n", OLD])
def test_a_whole_or_empty_file_is_no_reason_to_warn(content, tmp_path, caplog):
    (tmp_path / "metrics.csv").write_bytes(content)
    assert [row["step"] for row in resume(tmp_path, 9, a=1.0)][-1] == "9"
    assert not caplog.messages


def test_a_full_disk_is_said_with_the_file(tmp_path, monkeypatch):
    resume(tmp_path, 0, a=1.0)
    logger = ContinuedCSVLogger(tmp_path, name=None, version="", flush_logs_every_n_steps=1)
    logger.experiment.path = Path("/dev/full")
    with pytest.raises(OSError, match="No space") as full:
        logger.log_metrics({"a": 1.0}, 1)
    assert sentences_of(full.value) == [
        "/dev/full cannot be written or read: No space left on device."
    ]
