"""Turns errors of the file system into sentences that name the file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ..errors import InputError
from ..shell.exhaustion import exhausted


@contextmanager
def file_errors_named() -> Iterator[None]:
    """Raise an `InputError` that names the file where reading a data set fails inside.

    Raises:
        InputError: For an `OSError` that is about a file; what says that the machine has run out of
            something, as of open files, is left as it is.
    """
    try:
        yield
    except OSError as error:
        if error.filename is None or exhausted(error):
            raise
        raise InputError(
            f"{error.filename} cannot be read ({error.strerror}): the data set needs this file."
        ) from error
