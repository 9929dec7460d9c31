"""Sweeps in which cells would overwrite each other, and results that are none."""

from __future__ import annotations

import csv
import json
import logging
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import DictConfig, OmegaConf

from src.checkpoints.checkpoint import Checkpoint
from src.errors import InputError
from src.loggers.wandb import ContinuedWandbLogger
from src.reports.cells import columns_of, read_rows
from src.reports.pareto import write_report
from src.reports.rows import label_of, metric_of, read_row
from src.runs import cell
from src.runs import folders as name
from src.runs.lock import only_cell_in
from src.runs.record import add_recorded_choices
from tests.test_sweep import Sweep, measured, no_picture, sweep  # noqa: F401  (fixtures)

ROW = {
    "method": "evit",
    "rho": 0.5,
    "acc1": 70.0,
    "gmacs": 1.0,
    "images_per_s": 9.0,
    "speedup": 1.2,
}


def named(
    monkeypatch: pytest.MonkeyPatch,
    typed: list[str],
    task: list[str],
    left_out: tuple[str, ...] = (),
) -> str:
    """The cell's name of a job with the overrides `task` of the sweep `typed`."""
    excluded = {"job": {"config": {"override_dirname": {"exclude_keys": list(left_out)}}}}
    hydra = excluded | {"sweeper": {"params": None}, "overrides": {"task": task}}
    monkeypatch.setattr(name.HydraConfig, "get", lambda: OmegaConf.create(hydra))
    monkeypatch.setenv(name.VARIABLE, "")
    monkeypatch.setenv(name.SWEPT, "")
    name.name_sweep(typed)
    return name.cell_name()


def test_what_is_swept_is_in_the_name(monkeypatch: pytest.MonkeyPatch) -> None:
    left_out = ("datamodule.root", "datamodule.num_workers")
    words = ["datamodule.num_workers=0", "datamodule.root='/data/a'", "rho=0.5"]
    swept = ["-m", "rho=0.5,0.7", "datamodule.root=/data/a"]
    assert named(monkeypatch, swept, words, left_out) == "rho=0.5"
    swept = ["-m", "rho=0.5", "datamodule.root=/data/a,/data/b,/else/data/a"]
    names = [
        named(monkeypatch, swept, [f"datamodule.root='{root}'", "rho=0.5"], left_out)
        for root in ("/data/a", "/data/b", "/else/data/a", "/data-a")
    ]
    assert names[0].startswith("datamodule.root=data-a-")
    assert len(set(names)) == 4
    assert not any("/" in one for one in names)


def test_long_names_are_cut_and_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    constant = [f"loss.{'写' * 40}.weight={i}" for i in range(9)]
    words = ["-m", "rho=0.5,0.7", *constant]
    names = [named(monkeypatch, words, [*constant, f"rho={rho}"]) for rho in (0.5, 0.7)]
    assert names[0].startswith("rho=0.5,")  # what tells cells apart comes first
    assert names[0] != names[1]
    assert max(len(one.encode()) for one in names) <= 200
    sweeps = {name.sweep_name([*words, f"seed={seed}"]) for seed in range(3)}
    assert len(sweeps) == 3
    assert max(len(one.encode()) for one in sweeps) <= 128


def test_wandb_names_are_cut(tmp_path: Path) -> None:
    logger = ContinuedWandbLogger(save_dir=str(tmp_path), name="a" * 300, group="b" * 129)
    assert len(logger._wandb_init["name"]) <= 128
    assert len(logger._wandb_init["group"]) == 128


@pytest.mark.parametrize(
    "output",
    [
        *("predictions=/p.csv", "token_maps=p.png", "file=a.onnx", "paths.run=/x"),
        *("callbacks.token_maps.folder=/x", "predictions='${method}.csv'", "predictions=a,b"),
        "hydra.sweep.subdir=one",
    ],
)
def test_an_output_for_all_cells_is_refused(output: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in (name.VARIABLE, name.SWEPT):
        monkeypatch.setenv(variable, "")
    key = output.partition("=")[0]
    with pytest.raises(InputError, match=rf"^{key}=.* is one path .* as {key}='\$\{{\S+'\.$"):
        name.name_sweep(["-m", "rho=0.5,0.7", output])
    assert name.name_sweep(["-m", "rho=0.5", "predictions=p.csv"])
    for own in ("predictions='${paths.run}/p.csv'", "predictions=${rho}.csv"):
        assert name.name_sweep(["-m", "rho=0.5,0.7", own])
    assert name.name_sweep(["-m", "predictions=a.csv,b.csv"])


@pytest.mark.usefixtures("no_picture")
def test_two_roots_are_two_cells(sweep: Sweep, measured: list[str], tmp_path: Path) -> None:  # noqa: F811
    files = [tmp_path / f"{name} (1)=,.safetensors" for name in "ab"]
    for file in files:
        file.write_bytes(Path("assets/vit_micro_digits.safetensors").read_bytes())
    words = ("rho=0.5", "backbone=vit_micro", f"backbone.weights={files[0]},{files[1]}")
    assert sweep(*words) == 0
    with (tmp_path / "pareto.csv").open() as lines:
        rows = list(csv.DictReader(lines))
    assert [row["backbone.weights"] for row in rows] == [str(file) for file in files]
    measured.clear()
    assert sweep(*words) == 0
    assert measured == []


def saved(folder: Path, content: Any) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "result.json").write_text(
        content if isinstance(content, str) else json.dumps(content)
    )


@pytest.mark.usefixtures("no_picture")
@pytest.mark.parametrize(
    "content",
    [
        ROW | {"acc1": None},
        ROW | {"acc1": "70"},
        ROW | {"acc1": float("nan")},
        ROW | {"gmacs": 10**4000},
        ROW | {"speedup": True},
        {key: value for key, value in ROW.items() if key != "gmacs"},
        {key: value for key, value in ROW.items() if key != "method"},
        "[" * 100000,
        [],
        '{"acc1": ' + "9" * 5000 + "}",
    ],
    ids=range(10),
)
def test_broken_results_are_named(
    content: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    saved(tmp_path / "good", ROW)
    saved(tmp_path / "bad", content)
    with caplog.at_level(logging.WARNING):
        assert write_report(tmp_path)
    assert (tmp_path / "pareto.csv").read_text().count("\n") == 2
    assert "leaves out bad:" in caplog.text
    assert read_row(tmp_path / "bad") is None


def test_a_new_tasks_metric_counts(tmp_path: Path) -> None:
    row = {key: value for key, value in ROW.items() if key != "acc1"} | {"map": 40.0}
    assert metric_of(row) is None
    saved(tmp_path / "a", row | {"monitor": "map"})
    (read,) = read_rows(tmp_path)
    assert metric_of(read) == label_of(read) == "map"
    saved(tmp_path / "a", row | {"task": {"metric": "map", "label": "mAP", "metrics": ["map"]}})
    (read,) = read_rows(tmp_path)
    assert (metric_of(read), label_of(read), "map" in columns_of([read])) == ("map", "mAP", True)
    assert write_report(tmp_path)


def test_text_in_the_report_is_harmless(tmp_path: Path) -> None:
    for number, root in enumerate(("=1+1", "<!--<script>")):
        folder = tmp_path / f"=cell{number}"
        saved(folder, ROW | {"rho": -1})
        (folder / ".hydra").mkdir()
        words = OmegaConf.create([f"datamodule.root='{root}'", "schedule=null", "rho=0.5"])
        OmegaConf.save(words, folder / ".hydra" / "overrides.yaml")
    page = write_report(tmp_path)
    assert page is not None
    assert "<!--<script" not in page.read_text()
    with (tmp_path / "pareto.csv").open() as lines:
        rows = list(csv.DictReader(lines))
    assert [row["datamodule.root"] for row in rows] == ["'=1+1", "<!--<script>"]
    assert [row["cell"] for row in rows] == ["'=cell0", "'=cell1"]
    assert rows[0]["rho"] == "-1"
    assert "schedule" not in rows[0]  # the same in all


def test_saving_at_once_leaves_a_whole_row(tmp_path: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: cell._save(tmp_path, dict(ROW), {}), range(200)))
    assert read_row(tmp_path) == ROW
    assert not list(tmp_path.glob("*.partial"))


def test_a_cell_of_another_sweep_is_left_alone(tmp_path: Path) -> None:
    message = "Another sweep is at work on .*hydra.sweep.dir=DIR"
    with (
        only_cell_in(tmp_path),
        pytest.raises(InputError, match=message),
        only_cell_in(tmp_path, patience=0),
    ):
        pass


@pytest.mark.parametrize(
    ("recorded", "goes_on"),
    [({}, True), ({"ckpt_path": "last"}, True), ({"rho": 0.7}, False), ({"ckpt_path": "a"}, False)],
)
def test_a_stopped_training_goes_on_under_its_settings(
    recorded: dict[str, Any], goes_on: bool, tmp_path: Path
) -> None:
    settings = {"rho": 0.5, "ckpt_path": None, "monitor": "val/acc1"}
    record = {"config": settings | recorded | {"paths": {"run": "elsewhere"}}, "choices": {}}
    (tmp_path / "checkpoints").mkdir()
    torch.save({"run": record}, tmp_path / "checkpoints" / "recent.ckpt")
    asked: list[Any] = []

    def work(config: DictConfig) -> dict[str, Any]:
        asked.append(config.ckpt_path)
        return dict(ROW)

    class Hydra:
        mode = cell.RunMode.MULTIRUN

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cell.HydraConfig, "get", lambda: Hydra)
        cell._run_once(tmp_path, OmegaConf.create(settings), work)
        cell._run_once(tmp_path, OmegaConf.create(settings), work)  # finished
    assert asked == ["last" if goes_on else None]


def test_checkpoints_of_a_sweep_must_agree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = tmp_path / "a", tmp_path / "b"
    a.touch()
    b.touch()
    recorded = {a: {"backbone": "x", "task": "t"}, b: {"backbone": "y", "task": "t"}}
    monkeypatch.setattr(Checkpoint, "read", lambda path: Checkpoint(Path(path), {}))
    monkeypatch.setattr(
        "src.runs.record.recorded_choices", lambda checkpoint: recorded[checkpoint.path]
    )
    with pytest.raises(InputError, match=f"{a} has backbone=x and {b} backbone=y: evaluate"):
        add_recorded_choices(["-m", f"ckpt_path={a},{b}"])
    words = ["-m", f"ckpt_path={a},{b}", "backbone=z"]
    assert add_recorded_choices(words) == ["task=t", *words]
    one = f"ckpt_path='{a}'"
    assert add_recorded_choices([one]) == ["backbone=x", "task=t", one]
