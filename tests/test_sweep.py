"""Sweeps: each cell once, failures apart, the report a page that works without a network."""

from __future__ import annotations

import html
import json
import re
import runpy
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hydra.core.global_hydra import GlobalHydra

import src.evaluation
from src.modules.throughput import Speed
from src.sweep.name import sweep_name
from src.sweep.report import front, read_rows, write_report

ROOT = Path(__file__).parents[1]
QUICK = (
    "trainer=cpu",
    "datamodule.val_images=4",
    "datamodule.batch_size=2",
    "callbacks.progress=null",
    "throughput_batch=1",
)
Sweep = Callable[..., int]


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the cells that were really run, in order; their speeds are made up."""
    runs: list[str] = []

    def compare_speed(networks, images):
        runs.append(type(networks["sparse"].method).__name__)
        return {name: Speed(100.0 + len(runs), 90, 110, 3) for name in networks}

    monkeypatch.setattr(src.evaluation, "compare_speed", compare_speed)
    return runs


@pytest.fixture
def sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Sweep:
    """Run `eval.py -m` in this process, below `tmp_path`."""
    monkeypatch.chdir(ROOT)

    def run(*words: str) -> int:
        GlobalHydra.instance().clear()
        argv = ["eval.py", "-m", *QUICK, f"hydra.sweep.dir={tmp_path}", *words]
        monkeypatch.setattr(sys, "argv", argv)
        try:
            runpy.run_path("eval.py", run_name="__main__")
        except SystemExit as left:
            return int(left.code or 0)
        return 0

    return run


def test_a_sweep_is_named_by_its_choices() -> None:
    assert sweep_name(["-m", "rho=0.5,0.7", "method=evit", "hydra.job.num=3"]) == (
        "rho=0.5,0.7_method=evit"
    )
    long = [f"datamodule.root=/{'x' * 300}", "rho=0.5"]
    assert len(sweep_name(long)) < 140
    assert sweep_name(long) != sweep_name([*long[:1], "rho=0.6"])
    assert "/" not in sweep_name(long)


def test_only_what_is_missing_is_run(sweep: Sweep, measured: list[str], tmp_path: Path) -> None:
    words = ("method=evit,tome", "rho=0.5,0.7")
    assert sweep(*words) == 0
    assert measured == ["EViT", "EViT", "ToMe", "ToMe"]
    first = read_rows(tmp_path)
    assert [(row["method"], row["rho"]) for row in first] == [
        ("evit", 0.5),
        ("evit", 0.7),
        ("tome", 0.5),
        ("tome", 0.7),
    ]

    measured.clear()
    assert sweep(*words) == 0
    assert measured == []

    killed = next(tmp_path.glob("*method=tome,rho=0.5*/result.json"))
    killed.write_text(killed.read_text()[:40])  # as a kill while writing would never leave it
    assert sweep(*words) == 0
    assert measured == ["ToMe"]
    second = read_rows(tmp_path)
    for before, after in zip(first, second, strict=True):
        assert before["acc1"] == after["acc1"]
        assert before["maps"] == after["maps"]

    measured.clear()
    assert sweep(*words, "datamodule.val_images=6") == 0  # other settings, same folder
    assert len(measured) == 4


def test_jobs_of_one_process_do_not_touch_each_other(
    sweep: Sweep, measured: list[str], tmp_path: Path
) -> None:
    assert sweep("method=random", "rho=0.5,0.7") == 0
    together = {row["rho"]: row["maps"]["decisions"] for row in read_rows(tmp_path)}
    shutil.rmtree(next(tmp_path.glob("*rho=0.7*")))
    assert sweep("method=random", "rho=0.7") == 0
    alone = {row["rho"]: row["maps"]["decisions"] for row in read_rows(tmp_path)}
    assert alone == together


def test_a_failed_cell_is_reported_and_the_others_go_on(
    sweep: Sweep, measured: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sweep("rho=0.5,1.5,0.7", "method=evit") == 2
    assert measured == ["EViT", "EViT"]
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("error: 1 cells have a failure.txt")
    assert "rho=1.5 must be" in error
    assert "Traceback" in next(tmp_path.glob("*rho=1.5*/failure.txt")).read_text()
    assert len(read_rows(tmp_path)) == 2
    assert (tmp_path / "report.html").is_file()
    assert (tmp_path / "pareto.png").stat().st_size > 5000
    assert (tmp_path / "pareto.csv").read_text().count("\n") == 3


def test_the_report_goes_to_wandb_offline(
    sweep: Sweep, measured: list[str], tmp_path: Path
) -> None:
    words = ("logger=[csv,wandb]", "logger.wandb.offline=true")
    assert sweep("method=evit", "rho=0.5,0.7", *words) == 0
    run = next(tmp_path.glob("wandb/offline-run-*"))
    media = sorted(path.name for path in (run / "files" / "media").rglob("*.*"))
    assert any(name.startswith("picture") and name.endswith(".png") for name in media)
    table = next((run / "files" / "media" / "table" / "pareto").glob("table*.json"))
    content = json.loads(table.read_text())
    assert {"method", "rho", "acc1", "gmacs", "images_per_s"} <= set(content["columns"])
    assert len(content["data"]) == 2


def test_the_front() -> None:
    rows = [
        {"gmacs": 1.0, "acc1": 70.0},
        {"gmacs": 2.0, "acc1": 69.0},  # beaten by the first
        {"gmacs": 3.0, "acc1": 75.0},
        {"gmacs": 3.0, "acc1": 74.0},
    ]
    assert front(rows, "gmacs", less_is_better=True) == [0, 2]
    assert front(rows, "gmacs", less_is_better=False) == [2]


NAMES = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = next((found for found in map(shutil.which, NAMES) if found), "")
WATCH = (ROOT / "tests" / "report_watch.js").read_text()
PROBE = (ROOT / "tests" / "report_probe.js").read_text()


@pytest.mark.skipif(not CHROMIUM, reason="no Chromium on this machine")
def test_the_page_works_in_a_browser(sweep: Sweep, measured: list[str], tmp_path: Path) -> None:
    assert sweep("method=attention,tome,dense", "rho=0.4,0.9") == 0
    page = write_report(tmp_path)
    assert page is not None
    text = page.read_text()
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", text)
    probed = tmp_path / "probed.html"
    text = text.replace("<style>", f"<script>{WATCH}</script><style>")
    probed.write_text(text.replace("</body>", f"<script>{PROBE}</script></body>"))
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"]
    command += ["--virtual-time-budget=8000", f"--user-data-dir={tmp_path / 'chromium'}"]
    result = subprocess.run(
        [*command, probed.as_uri()], capture_output=True, text=True, timeout=120, check=True
    )
    found = re.search(r'data-seen="([^"]*)"', result.stdout)
    assert found, result.stdout[-2000:]
    seen = json.loads(html.unescape(found[1]))
    assert seen["errors"] == []
    assert seen["points"] == 2 * 6
    assert (seen["ascending"], seen["descending"]) == ("0.4", "0.9")
    assert seen["settings"] == 2
    assert seen["low"] > seen["high"]  # fewer patches survive: more white
