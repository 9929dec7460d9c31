"""Warns of files that are in the training part and in the validation part."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence

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
    trained = {os.path.normpath(path) for path, _ in training}
    shared = [path for path, _ in validation if os.path.normpath(path) in trained]
    if shared:
        log.warning(
            f"{len(shared)} of the {len(validation)} validation {kind} are training {kind} too, as "
            f"{shown(shared[0])}, so that validation shows what the network remembers."
        )
