"""McNemar's test of two evaluations on the same images."""

from __future__ import annotations

import subprocess
import sys
from itertools import product
from pathlib import Path

import pytest

from src.errors import InputError
from src.reports.compare import Comparison, compare, compare_pairs, main
from tests.helpers import ROOT


def predictions(path: Path, outcomes: str, offset: int = 0) -> Path:
    """A csv of images with label 7; `+` is right."""
    lines = [f"{i + offset:03}.jpg,7,{7 if o == '+' else 1},0.9" for i, o in enumerate(outcomes)]
    path.write_text("\n".join(["image,label,prediction,confidence", *lines]) + "\n")
    return path


def test_a_case_by_hand(tmp_path: Path) -> None:
    # Of 20 images 10 are right in both, 6 in A alone, 1 in B alone, 3 in none. The chance of at
    # most 1 head in 7 throws is (1 + 7) / 128, twice that 0.125.
    a = predictions(tmp_path / "a.csv", "+" * 16 + "-" * 4)
    b = predictions(tmp_path / "b.csv", "+" * 10 + "-" * 6 + "+" + "-" * 3)
    found = compare(a, b)
    assert found == Comparison(both=10, only_a=6, only_b=1, neither=3)
    assert found.accuracies == (80.0, 55.0)
    assert found.difference == 25.0
    assert found.p_value == 0.125
    other = compare(b, a)
    assert (other.difference, other.p_value) == (-25.0, 0.125)
    assert other.interval == pytest.approx([-edge for edge in reversed(found.interval)])


def test_p_is_that_of_scipy() -> None:
    stats = pytest.importorskip("scipy.stats")
    for b, c in [*product((0, 1, 2, 5, 9, 30), repeat=2), (900, 1000), (7000, 7400)]:
        expected = stats.binomtest(min(b, c), b + c, 0.5).pvalue if b + c else 1.0
        assert Comparison(50, b, c, 20).p_value == pytest.approx(expected, rel=1e-9)


def test_the_interval_is_newcombes() -> None:
    # Newcombe 1998, Statistics in Medicine 17, table II: method 10 of 36, 12, 2, 0.
    assert Comparison(36, 12, 2, 0).interval == pytest.approx((5.69, 34.04), abs=0.005)
    # Wilson's of 16 and 11 of 20 are 0.5840 to 0.9193 and 0.3421 to 0.7418; outcomes that agree
    # count for less by 20 / 2: phi = (10 * 3 - 6 * 1 - 10) / sqrt(16 * 4 * 11 * 9) = 0.1759.
    assert Comparison(10, 6, 1, 3).interval == pytest.approx((-1.24, 47.08), abs=0.005)
    low, high = Comparison(50, 0, 0, 0).interval
    assert low < 0 < high


def test_order_does_not_count(tmp_path: Path) -> None:
    a = predictions(tmp_path / "a.csv", "++-+-")
    head, *lines = a.read_text().splitlines()
    (tmp_path / "b.csv").write_text("\n".join([head, *reversed(lines)]))
    assert compare(a, tmp_path / "b.csv") == Comparison(3, 0, 0, 2)


def test_seeds_are_pooled(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folders = []
    for seed, (a, b) in enumerate((("+++-", "+---"), ("++--", "+-+-"))):
        for name, outcomes in (("a", a), ("b", b)):
            folders.append(tmp_path / f"{name}{seed}")
            folders[-1].mkdir()
            predictions(folders[-1] / "predictions.csv", outcomes)
    pairs = [(folders[0], folders[1]), (folders[2], folders[3])]
    assert compare_pairs(pairs) == [
        Comparison(1, 2, 0, 1),
        Comparison(1, 1, 1, 1),
        Comparison(2, 3, 1, 2),
    ]
    assert len(compare_pairs(pairs[:1])) == 1
    main([str(folder) for folder in folders])
    shown = capsys.readouterr().out
    assert "pooled" in shown
    assert "+25.00" in shown
    assert "0.625" in shown  # 2 (1 + 4) / 16


def test_predictions_among_the_present_classes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a, b = tmp_path / "a.csv", tmp_path / "b.csv"
    head = "image,label,prediction,confidence,prediction_present\n"
    a.write_text(head + "0,7,1,0.9,7\n1,7,7,0.9,7\n2,8,8,0.9,8\n")
    b.write_text(head + "0,7,7,0.9,8\n1,7,7,0.9,7\n2,8,8,0.9,7\n")
    assert compare(a, b) == Comparison(2, 0, 1, 0)
    assert compare(a, b, present=True) == Comparison(1, 2, 0, 0)
    main([str(a), str(b), "--present"])
    assert "+66.67" in capsys.readouterr().out


def test_without_predictions_among_the_present_classes(tmp_path: Path) -> None:
    a = predictions(tmp_path / "a.csv", "++")
    with pytest.raises(InputError, match=r"^\S*a\.csv has no column prediction_present, which"):
        compare(a, a, present=True)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, r"^There are no predictions at \S*b\.csv: write them by eval\.py predictions=FILE"),
        ("", r"b\.csv has no column image and no column label and no column prediction, so it is"),
        ("image,label\n1,2\n", r"b\.csv has no column prediction, so it is no csv of predictions"),
        ("image,label,prediction\n", r"b\.csv has 0 lines without an image, .* and 0 others"),
        ("image,label,prediction\n000.jpg,7\n", r"b\.csv has 1 lines without an image, a label"),
        ("image,label,prediction\n000.jpg,7,7\n", r"a\.csv has 2 images and \S*b\.csv 1: compare"),
        (
            "image,label,prediction\n000.jpg,7,7\n002.jpg,7,7\n",
            r"a\.csv has an image 001\.jpg that \S*b\.csv lacks: compare two evaluations of the",
        ),
        (
            "image,label,prediction\n000.jpg,7,7\n001.jpg,6,6\n",
            r"^Image 001\.jpg has the label 7 in \S*a\.csv and 6 in \S*b\.csv: compare",
        ),
        (b"image,label,prediction\n\xff,7,7\n", r"b\.csv is no csv of predictions \(.*\): write"),
    ],
    ids=range(9),
)
def test_other_files_are_refused(text: str | bytes | None, message: str, tmp_path: Path) -> None:
    a, b = predictions(tmp_path / "a.csv", "++"), tmp_path / "b.csv"
    if text is not None:
        b.write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(InputError, match=message) as raised:
        compare(a, b)
    assert "\n" not in str(raised.value)


def test_an_odd_number_of_files_is_refused() -> None:
    with pytest.raises(InputError, match=r"^3 files are no pairs: give A B, or A1 B1 A2 B2"):
        main(["a", "b", "c"])


def test_the_command_ends_in_a_sentence() -> None:
    command = [sys.executable, "-m", "src.reports.compare", "no.csv", "no.csv"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == 2
    assert ended.stderr.splitlines()[-1].startswith("error: There are no predictions at no.csv")
    assert "Traceback" not in ended.stderr
