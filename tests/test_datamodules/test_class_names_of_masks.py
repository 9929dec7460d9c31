"""The names of the classes of masks: a list or a file, in the place of their number."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from src.datamodules.given_names import read_names
from src.errors import InputError
from tests.test_datamodules.test_mask_values import masks, write


def test_names_give_the_number_of_classes(tmp_path: Path) -> None:
    write(tmp_path, 0, 1)
    listed = tmp_path / "classes.txt"
    listed.write_text("road \n\nped\u00e9ton\n", "utf-8")
    for given in (["road", "ped\u00e9ton"], str(listed)):
        data = masks(tmp_path, num_classes=None, class_names=given)
        data.check()
        assert data.class_names == ("road", "ped\u00e9ton")
        assert data.num_classes == 2
        assert data.class_name(1) == "ped\u00e9ton"
    assert masks(tmp_path).class_names is None


@pytest.mark.parametrize(
    ("given", "count", "fragment"),
    [
        ([], None, "must name each class"),
        (5, None, "datamodule.class_names=5 must name each class"),
        ({"road": 1}, None, "must name each class"),
        (["road", 1], None, "quote a name that is a number"),
        (["road", " "], None, "must name each class"),
        (["road", "road"], 2, "holds road more than once"),
        (["road", "car"], 3, "has 2 names, but datamodule.num_classes=3"),
        ("nowhere.txt", None, "nowhere.txt cannot be read as a text file (No such file"),
    ],
)
def test_names_that_cannot_be(given: Any, count: Any, fragment: str) -> None:
    with pytest.raises(InputError) as error:
        read_names(given, count)
    assert fragment in str(error.value)
    assert str(error.value).endswith(".")


def test_neither_names_nor_number(tmp_path: Path) -> None:
    data = masks(write(tmp_path, 0, 1), num_classes=None)
    with pytest.raises(InputError, match=r"num_classes=None must be .* or datamodule\.class_names"):
        data.check()
