"""Only runs whose settings differ in nothing but the seed are averaged."""

from __future__ import annotations

import json
import logging
import re
from pathlib import Path

import pytest

from src.errors import InputError
from src.reports.cells import read_rows
from src.reports.compare import compare
from src.reports.pareto import write_report
from src.reports.points import points_of
from src.reports.results import write_results
from src.reports.rows import data_entry
from tests.test_reports.made_sweep import row_of, save_cell


def saved(
    folder: Path, cell: str, seed: int, method: str = "dynamicvit", rho: float = 0.5, **more: object
) -> None:
    row = row_of("vit_micro", method, rho, "geometric", seed)
    save_cell(folder / cell, row, [f"seed={seed}"])
    data = {"_target_": "x", "image_size": 80, "seed": "${seed}"}
    settings = {"seed": seed, "rho": rho, "datamodule": data, "digests": {"ckpt_path": cell}}
    (folder / cell / "settings.json").write_text(json.dumps(settings | more))


def test_a_file_of_the_configuration_was_changed(tmp_path: Path) -> None:
    saved(tmp_path, "a", 1)
    saved(tmp_path, "b", 2)
    saved(tmp_path, "c", 3, datamodule={"_target_": "x", "image_size": 96, "seed": "${seed}"})
    found = [(point["cell"], point["n"]) for point in points_of(read_rows(tmp_path))]
    assert found == [("a; b", 2), ("c", 1)]


def test_a_dense_network_is_one_at_every_ratio(tmp_path: Path) -> None:
    saved(tmp_path, "a", 1, "dense", 0.5, schedule={"_target_": "x"})
    saved(tmp_path, "b", 2, "dense", 0.7, schedule={"_target_": "y"})
    (point,) = points_of(read_rows(tmp_path))
    assert point["n"] == 2


def test_metrics_of_two_tasks_are_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    saved(tmp_path, "a", 1)
    row = row_of("vit_micro", "dynamicvit", 0.5, "geometric", 1) | {"miou": 40.0}
    row["task"] = {"metric": "miou", "label": "mIoU (%)", "metrics": ["miou"]}
    save_cell(tmp_path / "b", row, ["seed=1", "task=segmentation"])
    with caplog.at_level(logging.WARNING):
        write_report(tmp_path)
    assert "are judged by acc1 and miou, which one axis cannot compare" in caplog.messages[0]


def test_data_that_a_checkpoint_brought_are_told_apart(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A command line does not name them, nor do the settings that it composes."""
    for name, seed, root in (("a", 1, "/x/birds"), ("b", 2, "/x/birds"), ("c", 3, "/x/cars")):
        saved(tmp_path, name, seed)
        row = json.loads((tmp_path / name / "result.json").read_text())
        row["data"] = {"_target_": "src.datamodules.imagenet.ImageNet", "root": root}
        (tmp_path / name / "result.json").write_text(json.dumps(row))
    found = [(point["cell"], point["n"]) for point in points_of(read_rows(tmp_path))]
    assert found == [("a; b", 2), ("c", 1)]
    page = tmp_path / "results.md"
    assert write_results([tmp_path], page) == 3
    text = page.read_text()
    assert re.findall("^## (.*)$", text, re.M) == ["vit_micro on birds", "vit_micro on cars"]
    assert "/x/" not in text
    with caplog.at_level(logging.WARNING):
        assert write_report(tmp_path)
    assert [message for message in caplog.messages if "are of 2 data sets, which" in message]
    assert "/x/" not in (tmp_path / "report.html").read_text()


def test_a_row_says_what_data_it_is_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {"_target_": "src.datamodules.digits.Digits", "batch_size": 3, "root": None}
    assert data_entry(settings) == {"_target_": "src.datamodules.digits.Digits", "root": None}
    assert data_entry({"_target_": "x"}) == {"_target_": "x"}
    monkeypatch.chdir(tmp_path)
    for root in ("birds", "./birds", str(tmp_path / "birds")):
        assert data_entry({"root": root}) == {"root": str(tmp_path / "birds")}
    assert data_entry({"root": "s3://a/birds"}) == {"root": "s3://a/birds"}


def test_files_of_a_table_are_told_apart(tmp_path: Path) -> None:
    for number, name in enumerate(("a", "b", "a")):
        row = row_of("vit_micro", "dynamicvit", (0.5, 0.7)[number // 2], "geometric", 1)
        words = [f"ckpt_path=/x/{name}/best.ckpt", f"rho={row['rho']}", "datamodule.root=/x/d"]
        save_cell(tmp_path / str(number), row, words)
    write_results([tmp_path], tmp_path / "results.md")
    found = re.findall("`python (.*)`", (tmp_path / "results.md").read_text())
    assert found == [
        "train.py ckpt_path=FILE1 rho=0.7 datamodule.root=DIR",
        "train.py ckpt_path=FILE1 rho=0.5 datamodule.root=DIR",
        "train.py ckpt_path=FILE2 rho=0.5 datamodule.root=DIR",
    ]


def test_images_that_are_listed_twice_have_no_pairs(tmp_path: Path) -> None:
    head = "image,label,prediction,confidence\n"
    (tmp_path / "a.csv").write_text(head + "x/0.png,0,0,0.9\nx/0.png,0,1,0.9\n")
    (tmp_path / "b.csv").write_text(head + "x/0.png,0,1,0.9\nx/0.png,0,0,0.9\n")
    with pytest.raises(InputError, match=r"a\.csv has more than one line of x/0\.png, so that"):
        compare(tmp_path / "a.csv", tmp_path / "b.csv")
