"""Checkpoints that are written whole or not at all."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, final

import torch
from lightning.fabric.plugins import TorchCheckpointIO

from ..modules.checkpoints import read_file
from ..whole import whole_file


@final
class WholeFiles(TorchCheckpointIO):
    """Writes beside the place and renames, so that a full disk or a kill leaves the file before.

    Lightning's own writes to the temporary folder and moves: between file systems that is a copy,
    which may end in the middle.
    """

    def save_checkpoint(
        self, checkpoint: Mapping[str, Any], path: Any, storage_options: Any | None = None
    ) -> None:
        """Write `checkpoint`; addresses as `s3://...` are Lightning's.

        Raises:
            OSError: If there is no room, or no right to write.
        """
        if "://" in str(path):
            super().save_checkpoint(dict(checkpoint), path, storage_options)
            return
        with whole_file(path) as partial, partial.open("wb") as file:
            torch.save(checkpoint, file)

    def load_checkpoint(self, path: Any, *_: Any, **__: Any) -> dict[str, Any]:
        """Read with our own reader, so that what was checked is what is used."""
        return read_file(path)
