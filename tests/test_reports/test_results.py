"""The page of results: means and deviations over seeds, and the command of each row."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from src.errors import InputError
from src.reports.results import main, write_results
from tests.test_reports.made_sweep import save_cell


def make_run(
    folder: Path, method: str, rho: float, seed: int, acc1: float, speedup: float, root: str
) -> None:
    row = {
        "backbone": "deit_t",
        "method": method,
        "rho": rho,
        "seed": seed,
        "acc1": acc1,
        "task": {"metric": "acc1", "label": "top-1 (%)", "metrics": ["acc1"]},
        "gmacs": 1.25 if method == "dense" else 0.625,
        "images_per_s": 50.0,
        "speedup": speedup,
    }
    words = [f"method={method}", f"rho={rho}", f"seed={seed}", f"datamodule.root={root}"]
    run = folder / f"{Path(root).name}_{method}_{rho}_{seed}"
    save_cell(run, row, [*words, "callbacks.progress=null"])
    data = {"_target_": "src.datamodules.imagenet.ImageNet", "root": root}
    (run / "settings.json").write_text(json.dumps({"datamodule": data}))


@pytest.fixture
def page(tmp_path: Path) -> str:
    first, second = tmp_path / "first", tmp_path / "second"
    for seed, acc1, speedup in ((1, 70.0, 1.5), (2, 71.0, 1.7), (10, 73.5, 1.6)):
        make_run(first, "evit", 0.5, seed, acc1, speedup, "/private/birds")
    make_run(second, "evit", 0.7, 1, 74.25, 1.3, "/private/birds")
    make_run(second, "dense", 0.7, 1, 75.0, 1.0, "/private/birds")
    make_run(second, "evit", 0.5, 1, 60.0, 1.4, "/private/cars")
    out = tmp_path / "docs" / "results.md"
    main([str(first), str(second), "--out", str(out)])
    return out.read_text()


def test_rows_hold_means_deviations_and_commands(page: str) -> None:
    """71.5 and 1.80 are the mean and the deviation (n - 1) of 70, 71 and 73.5."""
    birds, cars = page.split("\n## ")[1:]
    assert birds.startswith("deit_t on birds\n")
    assert cars.startswith("deit_t on cars\n")
    rows = [line for line in birds.splitlines() if line.startswith("| ")]
    assert rows[0] == "| method | rho | n | top-1 (%) | GMACs | speed-up | command |"
    assert rows[2].startswith("| dense |  | 1 | 75.00 | 1.250 | 1.00 | `python train.py ")
    assert rows[3] == (
        "| evit | 0.7 | 1 | 74.25 | 0.625 | 1.30 | "
        "`python train.py method=evit rho=0.7 seed=1 datamodule.root=DIR` |"
    )
    assert rows[4] == (
        "| evit | 0.5 | 3 | 71.50 ± 1.80 | 0.625 | 1.60 ± 0.10 | "
        "`python train.py -m method=evit rho=0.5 seed=1,2,10 datamodule.root=DIR` |"
    )
    assert len(rows) == 5
    assert "60.00 | 0.625 | 1.40" in cars
    assert "private" not in page


def test_a_run_below_two_folders_counts_once(tmp_path: Path) -> None:
    sweep, page = tmp_path / "sweep", tmp_path / "page.md"
    for seed, acc1 in ((1, 70.0), (2, 72.0)):
        make_run(sweep, "evit", 0.5, seed, acc1, 1.5, "/private/birds")
    assert write_results([sweep / "birds_evit_0.5_1", tmp_path, sweep], page) == 2
    assert re.findall(r"\| evit \| 0\.5 \| (\d) \|", page.read_text()) == ["2"]


def test_folders_without_results_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no result\.json here"):
        main([str(tmp_path), "--out", str(tmp_path / "page.md")])
    with pytest.raises(InputError, match="There is no folder"):
        main([str(tmp_path / "none"), "--out", str(tmp_path / "page.md")])
    assert not (tmp_path / "page.md").exists()
