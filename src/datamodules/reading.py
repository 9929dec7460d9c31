"""Turns errors of the file system into sentences that name the file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ..errors import InputError


@contextmanager
def file_errors_named() -> Iterator[None]:
    """Raise an `InputError` that names the file where reading a data set fails inside.

    Raises:
        InputError: Of an `OSError` about a file.
    """
    try:
        yield
    except OSError as error:
        if error.filename is None:
            raise
        raise InputError(
            f"{error.filename} cannot be read ({error.strerror}): the data set needs this file."
        ) from error
