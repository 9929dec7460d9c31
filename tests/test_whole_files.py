"""Files that are written whole or not at all, and tables that any program may open."""

from __future__ import annotations

import csv
import os
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import pytest
import timm
import torch

from src.callbacks.position_map import ClassMap
from src.callbacks.predictions import PredictionWriter
from src.export.graph import export
from src.export.quantize import quantize_dynamic
from src.files import atomic_file, naming
from src.modules import sparsify
from src.reports.tables import write_csv
from src.shell.program import sentences_of


def torn(*arguments: Any, **_: Any) -> None:
    """Write half a file, as PyTorch does on a full disk."""
    next(Path(a) for a in arguments if "partial" in str(a)).write_text("half")
    raise RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 64 vs 0")


def full_disk() -> None:
    raise OSError(28, "No space left on device")


def not_a_place(path: Path) -> None:
    with atomic_file(path):
        pytest.fail("a folder is no file")


def test_a_whole_file_replaces_the_older_one(tmp_path):
    path = tmp_path / "new" / "a.png"
    for text in ("first", "second"):
        with atomic_file(path) as partial:
            assert partial.suffix == ".png"
            partial.write_text(text)
        assert path.read_text() == text
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("fault", [ZeroDivisionError, KeyboardInterrupt, SystemExit])
def test_a_block_that_fails_leaves_the_older_file(fault, tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("older")

    def fail() -> None:
        with atomic_file(path) as partial:
            partial.write_text("half")
            raise fault

    with pytest.raises(fault):
        fail()
    assert path.read_text() == "older"
    assert list(tmp_path.iterdir()) == [path]


def test_links_and_devices_are_written_through(tmp_path):
    target, link = tmp_path / "target", tmp_path / "link"
    link.symlink_to(target)
    with atomic_file(link) as partial:
        partial.write_text("through")
    assert link.is_symlink()
    assert target.read_text() == "through"
    with atomic_file("/dev/null") as partial:
        assert partial == Path("/dev/null")
    assert not Path("/dev/null").is_file()


def test_what_a_killed_process_left_goes_after_a_day(tmp_path):
    old, new, other = (
        tmp_path / name for name in (".a.csv.x.1.partial", ".a.csv.y.2.partial", ".b.z.3.partial")
    )
    for folder in (old, new, other):
        folder.mkdir()
    for folder in (old, other):
        os.utime(folder, (0, time.time() - 10**5))
    with atomic_file(tmp_path / "a.csv") as partial:
        partial.touch()
    assert not old.exists()
    assert new.exists()
    assert other.exists()


def test_the_fault_names_the_file_and_not_another(tmp_path):
    path = tmp_path / "a.csv"
    with pytest.raises(OSError, match="No space") as full, naming(path):
        full_disk()
    assert sentences_of(full.value) == [
        f"{path} cannot be written or read: No space left on device."
    ]
    with pytest.raises(FileNotFoundError) as missing, naming(path):
        (tmp_path / "input").read_text()
    assert missing.value.filename == str(tmp_path / "input")
    with pytest.raises(IsADirectoryError):
        not_a_place(tmp_path)


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="a system without /proc")
@pytest.mark.parametrize("path", ["/proc/a.csv", "/proc/new/a.csv"])
def test_a_folder_that_takes_no_files_is_said(path):
    with pytest.raises(PermissionError) as refused:
        not_a_place(Path(path))
    assert sentences_of(refused.value) == [
        f"{path} cannot be written or read: Nothing can be made there."
    ]


@pytest.mark.parametrize("name", ["student.pt2", "student.onnx", "small.onnx"])
def test_a_full_disk_leaves_the_older_export(name, tmp_path, monkeypatch):
    student = sparsify(timm.create_model("vit_micro_patch8_80"), rho=0.5, method="evit").eval()
    path = tmp_path / name
    path.write_text("older")
    monkeypatch.setattr("torch.export.export", lambda *_, **__: None)
    monkeypatch.setattr("torch.export.save", torn)
    written = SimpleNamespace(model=MagicMock(), save=lambda path, **_: torn(path))
    monkeypatch.setattr("torch.onnx.export", lambda *_, **__: written)
    monkeypatch.setattr("onnx.load", lambda _: SimpleNamespace(graph=MagicMock()))
    monkeypatch.setattr("onnxruntime.quantization.quantize_dynamic", torn)
    write = quantize_dynamic if name == "small.onnx" else export
    first = tmp_path / "large.onnx" if name == "small.onnx" else student
    with pytest.raises(OSError, match="No space left") as full:
        write(first, path, *([] if name == "small.onnx" else [80]))
    assert full.value.filename == str(path)
    assert path.read_text() == "older"
    assert list(tmp_path.iterdir()) == [path]


NAMES = ["=1+1/0.png", "@x", "-a", "+b", "-1.5", 'q"uo"te', "a,b", "esc\x1b]0;x\x07", "\udcff.png"]
SHOWN = ["'=1+1/0.png", "'@x", "'-a", "'+b", "-1.5", 'q"uo"te', "a,b", "esc\\x1b]0;x\\x07"]
SHOWN += ["\\udcff.png"]


def predict(writer: PredictionWriter, count: int) -> None:
    output = SimpleNamespace(logits=torch.eye(count))
    writer.on_test_batch_end(
        None, None, {"output": output}, (torch.zeros(count, 3, 1, 1), torch.arange(count)), 0
    )  # type: ignore[arg-type]


def test_names_in_predictions_are_names(tmp_path):
    writer = PredictionWriter(str(tmp_path / "p.csv"), NAMES)
    writer.on_test_start(None, None)  # type: ignore[arg-type]
    predict(writer, len(NAMES))
    writer.on_test_end(None, None)  # type: ignore[arg-type]
    with (tmp_path / "p.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["image"] for row in rows] == SHOWN
    assert [int(row["prediction"]) for row in rows] == list(range(len(NAMES)))


def test_predictions_that_fail_half_way_leave_the_older_file(tmp_path):
    path = tmp_path / "p.csv"
    path.write_text("older")
    writer = PredictionWriter(str(path), None)
    writer.on_test_start(None, None)  # type: ignore[arg-type]
    predict(writer, 3)
    writer.on_exception(None, None, OSError(24, "Too many open files"))  # type: ignore[arg-type]
    assert path.read_text() == "older"
    assert list(tmp_path.iterdir()) == [path]


def test_names_of_classes_in_a_map_are_names(tmp_path):
    writer = ClassMap(str(tmp_path / "c.png"), str)
    writer.write_numbers({name: torch.full((1, 1, 1), 0.5) for name in NAMES}, (3,))
    with (tmp_path / "c.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["class"] for row in rows] == SHOWN
    assert {row["share"] for row in rows} == {"0.5000"}


def test_names_in_a_sweep_s_table_are_names(tmp_path):
    write_csv([{"cell": "=A1", "rho": -0.5, "more": 1}], tmp_path / "p.csv", ["cell", "rho", "x"])
    assert (tmp_path / "p.csv").read_text().splitlines() == ["cell,rho,x", "'=A1,-0.5,"]
