"""The command `tokenthrift`: its programs, its help, and what it says of what is missing."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers import ROOT, one_process
from tests.helpers import run as run_here

PROGRAMS = sorted(path.stem for path in (ROOT / "src/programs").glob("[a-z]*.py"))
HIDDEN = (
    "hydra",
    "lightning",
    "matplotlib",
    "omegaconf",
    "rich",
    "sklearn",
    "torchmetrics",
    "wandb",
)
WITHOUT = f"import sys\nsys.modules |= dict.fromkeys({HIDDEN})\n"


def run(*words: str, code: str = "") -> subprocess.CompletedProcess[str]:
    start = f"{code}\nimport sys\nsys.argv[0] = 'tokenthrift'\n"
    start += "from src.__main__ import run\nrun()"
    return subprocess.run(
        [sys.executable, "-c", start, *words], cwd=ROOT, capture_output=True, text=True, check=False
    )


def test_the_overview_names_every_program_and_imports_nothing_heavy() -> None:
    heavy = "\nimport atexit\natexit.register(lambda: print({'torch', 'hydra'} & set(sys.modules)))"
    shown = run("--help", code=heavy)
    assert shown.returncode == 0
    assert shown.stdout.endswith("set()\n")
    for name in PROGRAMS:
        assert f"\n  {name} " in shown.stdout
    assert run().stdout == run("-h").stdout


@pytest.mark.parametrize("word", ["trian", "--colour"])
def test_an_unknown_program_is_named_with_those_that_there_are(word: str) -> None:
    ended = run(word)
    assert ended.returncode == 2
    assert ended.stderr.startswith(f"error: tokenthrift has no program {word}")
    assert f"choose {', '.join(PROGRAMS)}." in ended.stderr
    assert ("(did you mean train?)" in ended.stderr) == (word == "trian")


def test_help_of_a_program_shows_how_it_was_started() -> None:
    by_command, by_script = (
        run("train", "--help").stdout,
        subprocess.run(
            [sys.executable, "train.py", "--help"], cwd=ROOT, capture_output=True, text=True
        ).stdout,
    )
    assert "\ntokenthrift train backbone=deit_s rho=0.7" in by_command
    assert "\npython train.py backbone=deit_s rho=0.7" in by_script
    assert by_script == by_command.replace("tokenthrift train", "python train.py")


def test_the_command_says_which_package_it_lacks() -> None:
    ended = run("train", code=WITHOUT)
    assert ended.returncode == 2
    assert ended.stderr.count("\n") == 1
    assert ended.stderr.startswith("error: tokenthrift train needs the package omegaconf")
    assert "pip install 'tokenthrift[train]'" in ended.stderr


@pytest.mark.slow
def test_the_library_works_without_the_packages_of_the_command() -> None:
    code = (
        WITHOUT
        + """
import torch, tokenthrift
student = tokenthrift.create_student("vit_micro", rho=0.5).eval()
print(*[int(step.count[0]) for step in student(torch.randn(1, 3, 80, 80)).steps])
"""
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert ended.stdout.split() == ["50", "25", "12"], ended.stderr


@pytest.mark.slow
def test_a_program_runs_from_another_folder_as_the_script_does(tmp_path: Path) -> None:
    words = ["debug=smoke", "trainer=cpu", "rho=0.5", "logger=csv", "trainer.max_epochs=1"]
    words += [f"callbacks.{name}=null" for name in ("throughput", "complexity", "token_maps")]
    losses = {}
    script, command = tmp_path / "script", tmp_path / "command"
    for folder in (script, command):
        folder.mkdir()
    with one_process(script):
        assert run_here([ROOT / "train.py", *words, "hydra.run.dir=out"]) == 0
    subprocess.run(
        [sys.executable, "-m", "tokenthrift", "train", *words, "hydra.run.dir=out"],
        cwd=command,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=True,
        capture_output=True,
    )
    for folder in (script, command):
        with (folder / "out/csv/metrics.csv").open(newline="") as file:
            losses[folder.name] = [row["train/loss"] for row in csv.DictReader(file)]
    assert losses["script"] == losses["command"]
    assert any(losses["script"])
