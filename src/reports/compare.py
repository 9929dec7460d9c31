"""Compares two networks on the same images: `python -m src.reports.compare`.

McNemar's exact test says whether their accuracies differ by more than chance.

Networks that are tested on the same images are not two independent samples: what tells them apart
are the images that only one of them gets right (Dietterich 1998, "Approximate Statistical Tests
for Comparing Supervised Classification Learning Algorithms").
"""

from __future__ import annotations

import argparse
import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import pairwise
from pathlib import Path

from ..errors import InputError, printable
from ..shell.program import one_sentence_errors
from .tables import print_table

PREDICTIONS = "predictions.csv"
_AMONG_PRESENT = "prediction_present"
_Z = 1.959963984540054  # of a 95 % interval
_REMEDY = "write them by eval.py predictions=FILE.csv"


@dataclass(frozen=True)
class Comparison:
    """Counts the images that both networks, only the first, only the second or none got right."""

    both: int
    only_a: int
    only_b: int
    neither: int

    def __add__(self, other: Comparison) -> Comparison:
        return Comparison(
            self.both + other.both,
            self.only_a + other.only_a,
            self.only_b + other.only_b,
            self.neither + other.neither,
        )

    @property
    def images(self) -> int:
        """Return the number of images, of each pair of files."""
        return self.both + self.only_a + self.only_b + self.neither

    @property
    def accuracies(self) -> tuple[float, float]:
        """Return the top-1 accuracies of the two in percent."""
        a, b = self.both + self.only_a, self.both + self.only_b
        return 100 * a / self.images, 100 * b / self.images

    @property
    def difference(self) -> float:
        """Return by how many points the first is better."""
        return 100 * (self.only_a - self.only_b) / self.images

    @property
    def p_value(self) -> float:
        """Return the two-sided p-value of McNemar's exact test.

        It is that of `min(only_a, only_b)` heads in `only_a + only_b` throws of a fair coin.
        """
        tosses, term, tail = self.only_a + self.only_b, 1, 0
        for heads in range(min(self.only_a, self.only_b) + 1):
            tail += term
            term = term * (tosses - heads) // (heads + 1)
        return min(1.0, 2 * tail / 2**tosses)

    @property
    def interval(self) -> tuple[float, float]:
        """Return the 95 % interval of `difference`, in points.

        It is method 10 of Newcombe 1998, "Improved confidence intervals for the difference between
        binomial proportions based on paired data": Wilson's intervals of both accuracies, and
        their correlation.
        """
        n, (a, b) = self.images, self.accuracies
        p, q = a / 100, b / 100
        (low_p, high_p), (low_q, high_q) = _wilson(p, n), _wilson(q, n)
        product = float(self.both * self.neither - self.only_a * self.only_b)
        if product > 0:
            product = max(product - n / 2, 0.0)
        scale = math.sqrt(p * (1 - p) * q * (1 - q)) * n**2
        phi = product / scale if scale else 0.0

        def reach(one: float, other: float) -> float:
            return math.sqrt(max(one**2 - 2 * phi * one * other + other**2, 0.0))

        low = p - q - reach(p - low_p, high_q - q)
        high = p - q + reach(high_p - p, q - low_q)
        return 100 * low, 100 * high


def _wilson(share: float, n: int) -> tuple[float, float]:
    middle = share + _Z**2 / (2 * n)
    reach = _Z * math.sqrt(share * (1 - share) / n + _Z**2 / (4 * n**2))
    return (middle - reach) / (1 + _Z**2 / n), (middle + reach) / (1 + _Z**2 / n)


def compare(a: Path, b: Path, present: bool = False) -> Comparison:
    """Compare the predictions of two evaluations image by image.

    Args:
        a: A csv that `eval.py predictions=FILE` has written, or the folder of one that is called
            `predictions.csv`.
        b: The other one; its images may stand in another order.
        present: Predictions are among the classes that the data holds, as `acc1_present` is.

    Raises:
        InputError: If a file is missing or holds no predictions, or images or labels differ.
    """
    a, b = _file(a), _file(b)
    column = _AMONG_PRESENT if present else "prediction"
    first, second = _read(a, column), _read(b, column)
    if len(first) != len(second):
        raise InputError(
            f"{a} has {len(first)} images and {b} {len(second)}: compare two evaluations of the "
            "same images."
        )
    counts = {(True, True): 0, (True, False): 0, (False, True): 0, (False, False): 0}
    for one, other in zip(first, second, strict=True):
        if one[0] != other[0]:
            name, has, lacks = (one[0], a, b) if one[0] < other[0] else (other[0], b, a)
            raise InputError(
                f"{has} has an image {printable(name)} that {lacks} lacks: compare two "
                "evaluations of the same images."
            )
        if one[1] != other[1]:
            raise InputError(
                f"Image {printable(one[0])} has the label {printable(one[1])} in {a} and "
                f"{printable(other[1])} in {b}: compare two evaluations of the same data."
            )
        counts[one[1] == one[2], other[1] == other[2]] += 1
    return Comparison(*counts.values())


def _file(path: Path) -> Path:
    return path / PREDICTIONS if path.is_dir() else path


def _read(path: Path, prediction: str) -> list[tuple[str, str, str]]:
    """Return image, label and the column `prediction` of each line, by image."""
    needed = ("image", "label", prediction)
    if not path.is_file():
        raise InputError(f"There are no predictions at {path}: {_REMEDY}.")
    try:
        with path.open(newline="", encoding="utf-8") as file:
            table = csv.DictReader(file)
            missing = [name for name in needed if name not in (table.fieldnames or ())]
            lines = [] if missing else [tuple(line[name] for name in needed) for line in table]
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} is no csv of predictions ({error}): {_REMEDY}.") from None
    if missing == [_AMONG_PRESENT]:
        raise InputError(
            f"{path} has no column {_AMONG_PRESENT}, which is written where the data holds only "
            "some of the network's classes: compare without --present, or evaluate again."
        )
    if missing:
        raise InputError(
            f"{path} has no column {' and no column '.join(missing)}, so it is no csv of "
            f"predictions: {_REMEDY}."
        )
    complete = [(image, label, guess) for image, label, guess in lines if image and label and guess]
    if len(complete) < max(len(lines), 1):
        raise InputError(
            f"{path} has {len(lines) - len(complete)} lines without an image, a label or a "
            f"prediction, and {len(complete)} others: {_REMEDY}."
        )
    complete.sort(key=lambda line: line[0])
    for (image, *_), (other, *_) in pairwise(complete):
        if image == other:
            raise InputError(
                f"{path} has more than one line of {printable(image)}, so that nobody knows which "
                "belong together: evaluate each image once."
            )
    return complete


def compare_pairs(pairs: Sequence[tuple[Path, Path]], present: bool = False) -> list[Comparison]:
    """Compare each of several pairs, as of several seeds; the sum of all comes last.

    Args:
        pairs: As `compare` takes them.
        present: As `compare` takes it.
    """
    each = [compare(a, b, present) for a, b in pairs]
    return [*each, reduce(Comparison.__add__, each)] if len(each) > 1 else each


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the comparison that the command line asks for."""
    parser = argparse.ArgumentParser(
        prog="python -m src.reports.compare",
        description="Compare the accuracy of A and B on the same images: McNemar's exact test and "
        "the 95 % interval of the difference (Newcombe 1998).",
        epilog="Write predictions by `eval.py ckpt_path=... predictions=a.csv`, in a sweep by "
        "predictions='${paths.run}/predictions.csv'. Two seeds: A1 B1 A2 B2.",
    )
    parser.add_argument(
        "files",
        nargs="+",
        type=Path,
        metavar="A B",
        help=f"csv files of predictions, or folders of cells with a {PREDICTIONS}; several pairs, "
        "as of several seeds, are shown each and pooled",
    )
    parser.add_argument(
        "--present",
        action="store_true",
        help="compare the likeliest of the classes that the data holds, where the network has more",
    )
    chosen = parser.parse_args(arguments)
    files: list[Path] = chosen.files
    if len(files) % 2:
        raise InputError(
            f"{len(files)} files are no pairs: give A B, or A1 B1 A2 B2 for several seeds."
        )
    pairs = list(zip(files[::2], files[1::2], strict=True))
    results = compare_pairs(pairs, chosen.present)
    names = [*(str(number) for number in range(1, len(pairs) + 1)), "pooled"]
    for number, (a, b) in enumerate(pairs, 1):
        print(f"{f'{number}: ' if len(pairs) > 1 else ''}A = {a}, B = {b}")
    rows = [{"pair": name, **_row(one)} for name, one in zip(names, results, strict=False)]
    print_table(rows, [name for name in rows[0] if name != "pair" or len(pairs) > 1])
    if len(pairs) > 1:
        print(
            "Pooled: the same images count once a pair, and their outcomes are alike, so the p of "
            "all pairs is too small and the interval too narrow where seeds agree: see each pair."
        )


def _row(result: Comparison) -> dict[str, object]:
    a, b = result.accuracies
    low, high = result.interval
    return {
        "images": result.images,
        "accuracy of A (%)": f"{a:.2f}",
        "accuracy of B (%)": f"{b:.2f}",
        "only A right (b)": result.only_a,
        "only B right (c)": result.only_b,
        "A - B (points)": f"{result.difference:+.2f}",
        "95 % interval": f"{low:+.2f} to {high:+.2f}",
        "p (exact McNemar)": f"{result.p_value:.4g}",
    }


if __name__ == "__main__":
    with one_sentence_errors():
        main()
