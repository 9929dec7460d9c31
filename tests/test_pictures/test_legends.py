"""Colors of classes can be told from each other."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import numpy.typing as npt
import pytest

from src.pictures.legends import color_of, palette

TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
WHITE = np.array([0.9505, 1, 1.089])


def lab(color: tuple[int, int, int]) -> npt.NDArray[np.float64]:
    """The place in CIELAB (white D65), where distances are about those that people see."""
    share = np.array(color) / 255
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    xyz = TO_XYZ @ linear / WHITE
    x, y, z = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize(("classes", "least"), [(11, 59), (21, 40)])
def test_colors_of_few_classes_are_far_apart(classes: int, least: float) -> None:
    colors = [color_of(label) for label in range(classes)] + [(255, 255, 255)]
    distances = [np.linalg.norm(lab(a) - lab(b)) for a, b in combinations(colors, 2)]
    assert min(distances) >= least


def test_every_class_has_a_color() -> None:
    values = palette()
    assert values[:3] == [0, 0, 0]
    assert len(values) == 3 * 256
    assert len({tuple(values[3 * n : 3 * n + 3]) for n in range(100)}) > 90
    assert all(0 <= value <= 255 for value in values)
