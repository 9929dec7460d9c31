"""`tokenthrift search` writes a schedule that other programs take."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import yaml
from PIL import Image

from tests.helpers import ROOT, run

pytestmark = pytest.mark.slow


def photographs(folder: Path) -> Path:
    folder.mkdir()
    torch.manual_seed(0)
    for number in range(6):
        pixels = torch.randint(0, 256, (96, 96, 3), dtype=torch.uint8).numpy()
        Image.fromarray(pixels).save(folder / f"{number}.png")
    (folder / "broken.png").write_text("no photograph")
    return folder


def test_what_is_found_is_evaluated_within_the_budget(tmp_path: Path) -> None:
    file, out = tmp_path / "mine/schedule/searched.yaml", tmp_path / "out"
    choices = ["backbone=vit_micro", "method=evit", "trainer=cpu"]
    images = photographs(tmp_path / "photos")
    found = [f"images={images}", "most=6", "trials=6", "budget=0.5", "num_workers=0"]
    command = [ROOT / "tokenthrift.py", "search", *choices, *found, f"file={file}"]
    assert run([*command, f"hydra.run.dir={tmp_path / 'search'}"]) == 0
    written = yaml.safe_load(file.read_text())
    assert len(written["ratios"]) == len(written["locations"])
    data = ["datamodule.val_images=8", "datamodule.num_workers=0", "schedule=searched"]
    command = [ROOT / "eval.py", *choices, *data, "--config-dir", tmp_path / "mine"]
    assert run([*command, f"hydra.run.dir={out}"]) == 0
    result = json.loads((out / "result.json").read_text())
    assert 0.45 < result["gmacs_share"] <= 0.5


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ([], "images is not set"),
        (["images=PHOTOS", "trials=0"], "trials=0 must be"),
        (["images=PHOTOS/broken.png"], "None of the 1 photographs"),
        (["images=PHOTOS", "budget=2"], "budget=2 is not a share"),
    ],
)
def test_bad_input_is_one_sentence(
    words: list[str], sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = photographs(tmp_path / "photos")
    given = [word.replace("PHOTOS", str(images)) for word in words]
    command = [ROOT / "tokenthrift.py", "search", "backbone=vit_micro", "method=evit", *given]
    assert run([*command, "trainer=cpu", "num_workers=0", f"hydra.run.dir={tmp_path / 'out'}"]) == 2
    assert capsys.readouterr().err.count(f"error: {sentence}") == 1
