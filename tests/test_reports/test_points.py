"""Seeds are replicates, dense is measured once a network, everything swept is shown."""

from __future__ import annotations

import csv
import json
import re
import xml.etree.ElementTree
from itertools import product
from pathlib import Path
from statistics import mean, stdev

import pytest
from PIL import Image

from src.errors import InputError
from src.reports.__main__ import main
from src.reports.cells import read_rows
from src.reports.front import AXES, front, front_of
from src.reports.pareto import write_report
from src.reports.points import points_of, varying
from src.reports.rows import number, quality
from tests.test_reports.made_sweep import (
    ACCURACIES,
    DENSE,
    GMACS,
    METHODS,
    PLACE,
    RHOS,
    SCHEDULES,
    SEEDS,
    make_sweep,
    row_of,
    save_cell,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("sweep")
    make_sweep(made)
    assert write_report(made) == made / "report.html"
    return made


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def data_of(folder: Path) -> dict:
    (text,) = re.findall(r"^const DATA = (.*);$", (folder / "report.html").read_text(), re.M)
    return json.loads(text)


def test_seeds_are_one_row(folder: Path) -> None:
    rows = table(folder / "pareto.csv")
    sparse = {
        (row["backbone"], float(row["rho"]), row["schedule"]): row
        for row in rows
        if row["method"] != "dense"
    }
    assert len(rows) == len(sparse) + 2
    assert sparse.keys() == set(product(METHODS, RHOS, SCHEDULES)) == ACCURACIES.keys()
    for (backbone, rho, schedule), scores in ACCURACIES.items():
        row = sparse[backbone, rho, schedule]
        speeds = [
            row_of(backbone, METHODS[backbone], rho, schedule, seed)["speedup"] for seed in SEEDS
        ]
        assert row["n"] == "3"
        assert float(row["acc1"]) == pytest.approx(mean(scores))
        assert float(row["acc1_std"]) == pytest.approx(stdev(scores))
        assert float(row["acc5_std"]) == pytest.approx(stdev(scores))
        assert float(row["speedup"]) == pytest.approx(mean(speeds))
        assert float(row["speedup_std"]) == pytest.approx(stdev(speeds))
        assert float(row["gmacs_std"]) == 0
        assert row["seed"] == "1, 2, 3"
    by_hand = sparse["vit_micro", 0.5, "geometric"]  # (71 + 74 + 72.5) / 3; 1.5, 1.5, 0 apart
    assert (float(by_hand["acc1"]), float(by_hand["acc1_std"])) == (72.5, 1.5)


def test_dense_is_measured_once_a_network(folder: Path) -> None:
    dense = {r["backbone"]: r for r in table(folder / "pareto.csv") if r["method"] == "dense"}
    assert dense.keys() == set(METHODS)
    for backbone, scores in DENSE.items():
        row = dense[backbone]
        assert (row["n"], row["rho"], row["schedule"]) == ("3", "", "")
        assert float(row["acc1_std"]) == pytest.approx(stdev(scores))
        assert float(row["gmacs"]) == GMACS[backbone]


def test_every_run_stays(folder: Path) -> None:
    runs = table(folder / "runs.csv")
    assert len(runs) == 48
    assert "n" not in runs[0]
    assert "acc1_std" not in runs[0]
    for run in runs:
        if run["method"] != "dense":
            scores = ACCURACIES[run["backbone"], float(run["rho"]), run["schedule"]]
            assert float(run["acc1"]) == scores[int(run["seed"]) - 1]


@pytest.mark.parametrize("cost", AXES)
def test_the_front_is_that_of_the_means(folder: Path, cost: str) -> None:
    points = points_of(read_rows(folder))
    sign = 1 if cost == "gmacs" else -1
    values = [(sign * number(point, cost), -quality(point)) for point in points]
    beaten = {
        i
        for i, (x, y) in enumerate(values)
        if any(u <= x and v <= y and (u, v) != (x, y) for u, v in values)
    }
    assert set(front_of(points, cost)) == set(range(len(points))) - beaten
    shown = [bool(point["on_front"].get(cost)) for point in data_of(folder)["points"]]
    assert shown == [i not in beaten for i in range(len(points))]


def test_equals_are_on_the_front_together() -> None:
    rows = [{"gmacs": 1.0, "acc1": 70.0}, {"gmacs": 1.0, "acc1": 70.0}, {"gmacs": 2.0, "acc1": 70}]
    assert front(rows, "gmacs", less_is_better=True) == [0, 1]


def saved(folder: Path, cell: str, words: list[str], **changes: object) -> None:
    row = row_of("vit_micro", "dynamicvit", 0.5, "geometric", 1) | changes
    save_cell(folder / cell, row, words)


def test_what_is_no_replicate_is_a_row(tmp_path: Path) -> None:
    saved(tmp_path, "a", ["seed=1"], seed=1)
    saved(tmp_path, "b", ["seed=2", "title='Two seeds'"], seed=2)
    saved(tmp_path, "c", ["seed=1"], seed=1)  # again
    saved(tmp_path, "d", ["seed=2", "loss.ratio.weight=3"], seed=2)  # another setting
    saved(tmp_path, "e", ["seed=3"], seed=3)
    (tmp_path / "e" / ".hydra" / "overrides.yaml").write_text("[")  # nobody knows
    found = [(point["cell"], point["n"]) for point in points_of(read_rows(tmp_path))]
    assert found == [("a; b", 2), ("c", 1), ("d", 1), ("e", 1)]


def test_one_run_has_no_deviation(tmp_path: Path) -> None:
    saved(tmp_path, "a", ["seed=1"])
    assert write_report(tmp_path)
    (row,) = table(tmp_path / "pareto.csv")
    assert (row["n"], row["acc1"], row["acc1_std"]) == ("1", "71.0", "")
    assert "standard deviation (n - 1)" not in (tmp_path / "pareto.md").read_text()


def test_a_mean_that_is_undefined_is_an_empty_cell(tmp_path: Path) -> None:
    for seed, acc5, speed in ((1, 99.0, None), (2, float("nan"), 7.0), (3, 98.0, 8.0)):
        saved(tmp_path, str(seed), [f"seed={seed}"], seed=seed, acc5=acc5, whole_speedup=speed)
    saved(tmp_path, "4", ["seed=1", "rho=0.7"], acc5=float("nan"), rho=0.7)
    assert write_report(tmp_path)
    several, one = table(tmp_path / "pareto.csv")
    assert (several["n"], several["acc1"]) == ("3", "71.0")
    assert (several["acc5"], several["acc5_std"], several["whole_speedup"]) == ("", "", "")
    assert (one["n"], one["acc5"]) == ("1", "")
    assert not re.search("nan|None", (tmp_path / "pareto.md").read_text())


def test_dense_networks_of_other_weights_are_others(tmp_path: Path) -> None:
    for weights, rho in product("ab", RHOS):
        words = [f"backbone.weights={weights}", f"rho={rho}", "method=dense"]
        saved(tmp_path, f"{weights}{rho}", words, method="dense", rho=rho)
    points = points_of(read_rows(tmp_path))
    assert [(point["backbone.weights"], point["n"]) for point in points] == [("a", 1), ("b", 1)]


def test_colors_and_shapes_tell_what_varies(folder: Path) -> None:
    points = points_of(read_rows(folder))
    assert varying(points) == [["method", "backbone"], ["schedule"]]
    one = [point for point in points if point["backbone"] == "vit_micro"]
    assert varying(one) == [["method"], ["schedule"]]
    same = [point | {"method": "evit"} for point in points if point["method"] != "dense"]
    assert varying(same) == [["backbone"], ["schedule"]]
    assert varying(one[:1]) == []


def test_the_picture_comes_in_three_formats(folder: Path) -> None:
    with Image.open(folder / "pareto.png") as picture:
        assert picture.size == (1800, 600)
    assert (folder / "pareto.pdf").read_bytes().startswith(b"%PDF")
    drawn = xml.etree.ElementTree.parse(folder / "pareto.svg")
    texts = {"".join(e.itertext()).strip() for e in drawn.iter("{http://www.w3.org/2000/svg}text")}
    legend = {"asymmetric, swin_micro", "dynamicvit, vit_micro", "dense, swin_micro"}
    assert legend | {"geometric", "linear", "Pareto front", "0.5", "0.7"} <= texts
    assert "top-1 accuracy against cost: asymmetric, dense, dynamicvit on" in " ".join(texts)


def test_what_speedup_is_stands_beside_it(folder: Path) -> None:
    place = "cpu, 2 CPU threads, batch 32, float32, PyTorch 2.14.1"
    markdown = (folder / "pareto.md").read_text()
    assert "| speedup (median of turns) |" in markdown
    assert "| 72.5 ± 1.5 |" in markdown
    notes = data_of(folder)["notes"]
    for note in notes:
        assert note in markdown
    assert "the median of the ratios within each turn of one run" in notes[0]
    assert place in notes[0]
    assert "n = 3 runs" in notes[1]
    assert PLACE["batch_size"] == 32


def test_the_page_has_pictures_of_every_sparse_run(folder: Path) -> None:
    data = data_of(folder)
    runs = [run for point in data["points"] for run in point["runs"]]
    assert sum(bool(run["maps"]) for run in runs) == 24
    assert len(data["pictures"]) == 2  # which the cells share
    assert {number for run in runs if run["maps"] for number in run["maps"]["images"]} == {0, 1}


def test_a_heading_can_be_chosen(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    saved(tmp_path, "a", ["seed=1"])
    main([str(tmp_path), "title=Two schedules, <three> seeds"])
    assert capsys.readouterr().out == f"Report: {tmp_path / 'report.html'}\n"
    assert data_of(tmp_path)["title"] == "Two schedules, <three> seeds"
    assert data_of(folder)["title"] == (
        "top-1 accuracy against cost: asymmetric, dense, dynamicvit on swin_micro, vit_micro"
    )


def test_bad_folders_are_named(tmp_path: Path) -> None:
    for words, message in (
        (["nowhere"], r"^There is no folder nowhere: give that of a sweep\.$"),
        ([str(tmp_path)], r" holds no finished run: none of its folders has a result\.json "),
        ([str(tmp_path), "heading"], r"^heading is no heading: give it as title='heading'\.$"),
    ):
        with pytest.raises(InputError, match=message):
            main(words)
