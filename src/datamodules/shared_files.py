"""Warns of files that are in the training part and in the validation part."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from ..errors import some
from .fields import shown

log = logging.getLogger(__name__)


def warn_of_shared(
    training: Sequence[tuple[str, int]], validation: Sequence[tuple[str, int]], kind: str
) -> None:
    """Warn if a file is trained on and validated on, which makes validation too good.

    Args:
        training: Path and label of each sample.
        validation: Likewise.
        kind: What to call several of the files in the message.
    """
    place = cache(os.path.realpath)  # of folders: they are fewer, and where links are

    def identity(path: str) -> tuple[str, str]:
        folder, name = os.path.split(path)
        return str(place(folder)), name

    trained = {identity(path) for path, _ in training}
    shared = [path for path, _ in validation if identity(path) in trained]
    if shared:
        log.warning(
            f"{len(shared)} of the {len(validation)} validation {kind} are training {kind} too, as "
            f"{shown(shared[0])}, so that validation shows what the network remembers."
        )


def warn_of_shared_folders(training: Path, validation: Path, classes: Sequence[str]) -> None:
    """Warn of classes whose folder is the same for both parts, as through a link."""
    shared = [name for name in classes if (training / name).samefile(validation / name)]
    if shared:
        log.warning(
            f"{training} and {validation} are the same folder for {len(shared)} classes, as "
            f"{some(shared)}, so that validation shows what the network remembers."
        )
