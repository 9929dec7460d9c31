"""Sweeps: each cell once, failures apart, the report a page that works without a network."""

from __future__ import annotations

import html
import json
import os
import re
import runpy
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hydra.core.global_hydra import GlobalHydra
from PIL import Image
from wandb.proto import wandb_internal_pb2

import src.runs.cost
from src.errors import InputError
from src.measure.throughput import Speed
from src.reports.cells import read_rows
from src.reports.front import front
from src.reports.pareto import write_report
from src.reports.workspace import main as workspace_main
from src.reports.workspace import make_workspace
from src.runs.cost import LOGGED
from src.runs.folders import name_sweep, sweep_name
from tests.short_turns import WORD

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
        return {name: Speed((90.0, 100.0 + len(runs), 110.0)) for name in networks}

    monkeypatch.setattr(src.runs.cost, "compare_speed", compare_speed)
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


@pytest.fixture
def no_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the picture of a report, which takes as long as a cell."""
    monkeypatch.setattr("src.reports.pareto.draw", lambda *_: None)


def test_a_sweep_is_named_by_its_choices() -> None:
    assert sweep_name(["-m", "rho=0.5,0.7", "method=evit", "hydra.job.num=3"]) == (
        "rho=0.5,0.7_method=evit"
    )
    long = [f"datamodule.root=/{'x' * 300}", "rho=0.5"]
    assert len(sweep_name(long)) < 140
    assert sweep_name(long) != sweep_name([*long[:1], "rho=0.6"])
    assert "/" not in sweep_name(long)


def test_the_flag_may_stand_anywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKENTHRIFT_SWEEP", "")
    assert name_sweep(["rho=0.5", "-m", "method=evit"]) == ["-m", "rho=0.5", "method=evit"]
    assert os.environ["TOKENTHRIFT_SWEEP"] == "rho=0.5_method=evit"


@pytest.mark.usefixtures("no_picture")
def test_only_what_is_missing_is_run(sweep: Sweep, measured: list[str], tmp_path: Path) -> None:
    words = ("method=evit,tome", "rho=0.5")
    assert sweep(*words) == 0
    assert measured == ["EViT", "ToMe"]
    first = read_rows(tmp_path)
    assert [(row["method"], row["rho"]) for row in first] == [("evit", 0.5), ("tome", 0.5)]

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
    one = ("method=tome", "rho=0.5", "datamodule.val_images=6")  # other settings, same folder
    assert sweep(*one) == 0
    assert measured == ["ToMe"]


@pytest.mark.usefixtures("no_picture")
def test_a_dense_network_is_measured_once(
    sweep: Sweep, measured: list[str], tmp_path: Path
) -> None:
    assert sweep("method=dense", "rho=0.5,0.7") == 0
    assert measured == ["Dense"]
    rows = read_rows(tmp_path)
    assert [row["rho"] for row in rows] == [0.5, 0.7]
    assert len({row["images_per_s"] for row in rows}) == 1
    assert rows[0]["maps"] == rows[1]["maps"]
    measured.clear()
    assert sweep("method=dense", "rho=0.5", "datamodule.val_images=6") == 0
    assert measured == ["Dense"]  # other settings


@pytest.mark.usefixtures("no_picture")
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
    assert list((run / "files" / "media" / "html" / "pareto").glob("page*.html"))


@pytest.mark.usefixtures("no_picture")
def test_each_cell_is_a_wandb_run(sweep: Sweep, measured: list[str], tmp_path: Path) -> None:
    words = ("logger=[csv,wandb]", "logger.wandb.offline=true")
    assert sweep("method=tome", "rho=0.5", *words) == 0
    folder = next(tmp_path.glob("*method=tome*/wandb/offline-run-*"))
    logged = read_offline(next(folder.glob("*.wandb")))
    assert logged["group"] == os.environ["TOKENTHRIFT_SWEEP"]
    assert logged["config"]["choices"] == {"backbone": "vit_micro", "method": "tome"}
    assert {
        "val/acc1",
        "complexity/gmacs",
        "complexity/gmacs_share",
        "throughput/images_per_s",
        "throughput/speedup",
    } <= set(logged["history"])
    assert logged["history"]["token_maps/count"] == 4
    masks_of_first = logged["history"]["token_maps/all_masks"][0]
    assert set(masks_of_first) == {"block 2", "block 5", "block 8"}
    masks = sorted((folder / "files" / "media" / "images" / "mask").glob("*.png"))
    with Image.open(masks[-1]) as mask:
        assert mask.size == (80, 80)
    labels = {color for path in masks for _, color in Image.open(path).getcolors()}
    assert labels == {1, 2}  # ToMe drops nothing: kept or merged


def records(path: Path) -> Iterator[bytes]:
    """Records of a `.wandb` file: LevelDB's log format behind seven bytes."""
    data, place, whole = path.read_bytes(), 7, b""
    while place + 7 <= len(data):
        if 32768 - place % 32768 < 7:  # the rest of a block that no header fits in
            place += 32768 - place % 32768
            continue
        length, kind = struct.unpack_from("<HB", data, place + 4)
        whole += data[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # whole, or the last part
            yield whole
            whole = b""


def read_offline(path: Path) -> dict:
    """What a W&B run kept offline: group, config, and the last value of each logged name."""
    kept: dict = {"group": None, "config": {}, "history": {}}
    for data in records(path):
        record = wandb_internal_pb2.Record()
        record.ParseFromString(data)
        kept["group"] = record.run.run_group or kept["group"]
        for item in (*record.run.config.update, *record.config.update):
            kept["config"][item.key] = json.loads(item.value_json)
        for item in record.history.item:
            kept["history"][item.key or "/".join(item.nested_key)] = json.loads(item.value_json)
    return kept


@pytest.mark.parametrize("metric", ["acc1", "miou", "map"])
def test_the_workspace_shows_what_is_logged(metric: str) -> None:
    model = make_workspace("me", "mine", metric)._to_model()
    sections = model.spec.section.panel_bank_config.sections
    cost, keep, survivors, training = [[p.config for p in s.panels] for s in sections]
    logged = {f"val/{metric}", *LOGGED.values()}
    for panel in cost:
        axes = {axis.removeprefix("summary:") for axis in (panel.x_axis, panel.y_axis)}
        assert len(axes & logged) == 2
        assert f"val/{metric}" in axes
    assert re.search(keep[0].metric_regex, "keep/3")
    assert not re.search(keep[0].metric_regex, "keep/3_target")
    assert survivors[0].media_keys == ["token_maps", "pictures"]
    assert training[0].metrics == [f"val/{metric}"]


def test_the_workspace_needs_a_project() -> None:
    with pytest.raises(InputError, match="must be ENTITY/PROJECT"):
        workspace_main(["mine"])


@pytest.mark.parametrize(
    ("launcher", "ratios"), [("joblib", [0.5, 0.7]), ("submitit_local", [0.5])]
)
def test_launchers(launcher: str, ratios: list[float], tmp_path: Path) -> None:
    words = ["method=evit", f"rho={','.join(map(str, ratios))}", f"hydra/launcher={launcher}", WORD]
    command = [sys.executable, "eval.py", "-m", *QUICK, *words, f"hydra.sweep.dir={tmp_path}"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    subprocess.run(command, cwd=ROOT, env=environment, timeout=300, check=True, capture_output=True)
    assert [row["rho"] for row in read_rows(tmp_path)] == ratios
    assert (tmp_path / "report.html").is_file()


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


@pytest.mark.usefixtures("no_picture")
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
    assert seen["points"] == 3 * 5  # dense once
    assert (seen["ascending"], seen["descending"]) == ("0.4", "0.9")
    assert seen["settings"] == 2
    assert seen["low"] > seen["high"]  # fewer patches survive: more white
