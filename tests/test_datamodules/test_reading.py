"""A file that a data set needs and cannot be read is one sentence; an exhausted machine is not."""

import errno
from pathlib import Path

import pytest

from src.datamodules.reading import file_errors_named
from src.errors import InputError


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    missing = tmp_path / "labels.csv"
    said = r"labels\.csv cannot be read \(No such file"
    with pytest.raises(InputError, match=said), file_errors_named():
        missing.read_text()


def test_what_is_about_no_file_or_about_the_machine_stays_as_it_is() -> None:
    for error in (OSError("of a socket"), OSError(errno.EMFILE, "Too many open files", "a.csv")):
        with pytest.raises(OSError, match=r"of a socket|Too many") as caught, file_errors_named():
            raise error
        assert caught.value is error
