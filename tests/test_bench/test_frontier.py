"""Methods side by side: what is lost, what is fastest, what is kept for the next time."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from unittest.mock import Mock, patch

import pytest

from src.bench.frontier import evaluation
from src.bench.frontier.evaluation import agreement, compare_predictions
from src.bench.frontier.plan import Cell, _numbered
from src.bench.frontier.table import failed_row, for_readers, mark_best, measured_row
from src.bench.frontier.timing import Timing
from src.measure.throughput import Speed
from src.modules.methods.base import Method
from tests.combinations import students_of
from tests.helpers import ROOT, one_process, run

LABELS = [0] * 1000
DENSE = [0] * 900 + [1] * 100


def row(method: str, rho: float | None, right: int, gmacs: float, rates: tuple[float, ...]):
    """A student right on the first `right` images, where dense is on the first 900."""
    predicted = [0] * right + [2] * (1000 - right)
    timing = Timing(Speed(rates), Speed(rates), 1.0)
    dense = Timing(Speed((10.0, 20.0, 10.0)), Speed((10.0, 20.0, 10.0)), 2.0)
    against = compare_predictions(predicted, DENSE, LABELS)
    return measured_row(
        method, rho, against, agreement(predicted, DENSE), (gmacs, 2.0), (timing, dense)
    )


def test_a_row_compares_with_dense_on_the_same_images() -> None:
    made = row("tome", 0.7, 880, 1.0, (15.0, 36.0, 14.0))
    assert (made["acc1"], made["change"], made["agreement"]) == (88.0, -2.0, 88.0)
    assert made["low"] < -2.0 < made["high"] < 0
    assert made["p_value"] == pytest.approx(2 * 0.5**20)
    assert made["speedup"] == 1.5  # the median of 1.5, 1.8 and 1.4, not that of the rates
    assert made["efficiency"] == 0.75
    assert made["latency_ms"] == pytest.approx(1000 / 15)


def test_the_cheapest_setting_within_each_budget_is_marked() -> None:
    fast = (20.0, 40.0, 20.0)
    rows = [
        row("dense", None, 900, 2.0, (10.0, 20.0, 10.0)),
        row("tome", 0.9, 896, 1.8, fast),
        row("tome", 0.8, 895, 1.6, fast),  # exactly .5
        row("tome", 0.7, 891, 1.4, fast),
        row("tome", 0.5, 850, 1.0, fast),
        row("evit", 0.5, 880, 1.0, fast),
        failed_row("mctf", 0.5, "It does not fit."),
    ]
    best = mark_best(rows)
    assert [one["best_at"] for one in rows] == ["", "", "0.5", "1", "", "", ""]
    assert best["tome", 0.5] is rows[2]
    assert best["evit", 1.0] is None
    assert not any(method in ("dense", "mctf") for method, _ in best)
    assert for_readers(rows)[-1]["note"] == "It does not fit."


def test_methods_declare_whether_they_need_a_training() -> None:
    methods: dict[str, Method] = {name: one.method for name, one in students_of("vit").items()}
    learned = {name for name, method in methods.items() if method.needs_training}
    assert {"dynamicvit", "static", "cropr", "query_absorb"} <= learned
    assert not learned & {"tome", "evit", "ats", "mctf", "attention", "random", "structural"}


def test_three_trained_students_of_one_kind_have_three_names() -> None:
    cells = [Cell("evit trained", rho, {}, Mock()) for rho in (0.7, 0.7, 0.75, 0.7)]
    names = [cell.name for cell in _numbered(cells)]
    assert names == [
        "evit_trained_rho0.7",
        "evit_trained_2_rho0.7",
        "evit_trained_rho0.75",
        "evit_trained_3_rho0.7",
    ]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_the_command_goes_on_where_it_stopped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    common = ["trainer=cpu", "most=12", "batch=4", "repeats=1", "seconds=0", "ratios=[0.5]"]
    command = [ROOT / "tokenthrift.py", "frontier", *common, f"folder={tmp_path / 'out'}"]
    with one_process(tmp_path):
        assert run([*command, "methods=[tome]"]) == 0
    evaluated = []

    def predict(network, *rest):
        evaluated.append(network.method.name)
        return original(network, *rest)

    original = evaluation.predict
    with one_process(tmp_path), patch.object(evaluation, "predict", predict):
        assert run([*command, "methods=[tome,dense,random,tome,asymmetric]"]) == 0
    assert evaluated == ["Random"]
    with (tmp_path / "out" / "frontier.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [one["method"] for one in rows] == ["dense", "tome", "random", "asymmetric"]
    assert float(rows[0]["speedup"]) == 1.0
    assert "Asymmetric works on feature maps" in rows[3]["note"]
    assert float(rows[1]["mac_ratio"]) > 1.8
    result = json.loads((tmp_path / "out/cells/tome_rho0.5/result.json").read_text())
    assert result["acc1"] == float(rows[1]["acc1"])
    for name in ("frontier.md", "best.md", "frontier.svg", "frontier.pdf", "cells/report.html"):
        assert (tmp_path / "out" / name).stat().st_size > 100
    assert "At most 0.5 points lost" in (tmp_path / "out/cells/report.html").read_text()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("word", "sentence"),
    [
        ("methods=[tomes]", "methods has 'tomes', which is not one of"),
        ("ratios=[0.5,2]", "ratios has 2, which must be a number"),
        ("ratios=0.5", "ratios=0.5 must be a list, as ratios=[0.9,0.7]."),
        ("precision=int8", "precision=int8 must be one of fp32"),
        ("most=0", "most=0 must be a whole number from 1."),
        ("task=multilabel", "choose task=classification"),
        (f"ckpt_path={ROOT}/tests/checkpoints/vit.ckpt", "give its weights as backbone.weights"),
        ("checkpoints=[none.ckpt]", "none.ckpt"),
        ("backbone=convnext_micro", "No method fits this network untrained"),
    ],
)
def test_bad_input_is_one_sentence(
    word: str, sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = [ROOT / "tokenthrift.py", "frontier", "trainer=cpu", "most=4", word]
    with one_process(tmp_path):
        assert run([*command, f"folder={tmp_path / 'out'}"]) == 2
    shown = capsys.readouterr().err
    assert shown.count("error: ") == 1
    assert sentence in shown
