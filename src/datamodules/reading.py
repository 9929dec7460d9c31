"""Turns errors of the file system into sentences that name the file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ..errors import InputError
from ..shell.exhaustion import exhausted


@contextmanager
def file_errors_named() -> Iterator[None]:
    """Turn an `OSError` inside into an `InputError` that names the file.

    Raises:
        InputError: For an `OSError` about a file. An error that says that the machine has run out
            of something, such as open files, is not changed.
    """
    try:
        yield
    except OSError as error:
        if error.filename is None or exhausted(error):
            raise
        raise InputError(
            f"{error.filename} cannot be read ({error.strerror}): the data set needs this file."
        ) from error
