"""Writes Lightning's checkpoints atomically and reads them safely."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import final

import torch
from lightning.fabric.plugins import TorchCheckpointIO

from ..files import atomic_file
from .checkpoint import taken


@final
class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes to a temporary file and renames it, so that a kill leaves the former checkpoint.

    Lightning's own writes to the temporary folder and moves: between file systems that is a copy,
    which may end in the middle.
    """

    def save_checkpoint(
        self, checkpoint: Mapping[str, object], path: str | Path, storage_options: object = None
    ) -> None:
        """Write `checkpoint`; addresses as `s3://...` are Lightning's.

        Raises:
            OSError: If there is no room, or no right to write.
        """
        if "://" in str(path):
            super().save_checkpoint(dict(checkpoint), path, storage_options)
            return
        with atomic_file(path) as partial, partial.open("wb") as file:
            torch.save(checkpoint, file)

    def load_checkpoint(self, path: str | Path, *_: object, **__: object) -> dict[str, object]:
        """Return what the check before has read, or read the file by our own reader."""
        return dict(taken(path).content)
