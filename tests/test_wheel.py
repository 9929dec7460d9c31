"""The wheel is a library of its own: `tokenthrift`, with its configuration, and no `src`."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.helpers import ROOT

pytestmark = pytest.mark.slow


USE = """
import pathlib, sys, torch, tokenthrift
assert pathlib.Path(tokenthrift.__file__).is_relative_to(sys.argv[1]), tokenthrift.__file__
student = tokenthrift.create_student("vit_micro", rho=0.5).eval()
print(*[int(count) for count in student(torch.randn(1, 3, 80, 80)).counts])
assert "src" not in sys.modules
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    pip = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--wheel-dir",
        folder,
        ROOT,
    ]
    subprocess.run(pip, check=True, timeout=300)
    (file,) = folder.glob("tokenthrift-*.whl")
    return file


def test_top_level_is_tokenthrift_alone(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    tops = {name.partition("/")[0] for name in names}
    assert tops == {"tokenthrift", next(t for t in tops if t.endswith(".dist-info"))}
    assert "tokenthrift/conf/backbone/deit_s.yaml" in names
    assert "tokenthrift/py.typed" in names


def test_it_works_from_another_folder(wheel, tmp_path):
    site = tmp_path / "site"
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", site, wheel]
    subprocess.run(pip, check=True, timeout=300)
    assert not (site / "src").exists()
    result = subprocess.run(
        [sys.executable, "-c", USE, str(site)],
        cwd=elsewhere,
        env={**os.environ, "PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == ["50", "25", "12"]
    command = [site / "bin" / "tokenthrift", "bench", "--help"]
    told = subprocess.run(
        command,
        cwd=elsewhere,
        env={**os.environ, "PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert "efficiency" in told.stdout, told.stderr
