"""Checkpoints that are written whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, final

import torch
from lightning.fabric.plugins import TorchCheckpointIO

from ..modules.checkpoints import read_file


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
        place = Path(path)
        place.parent.mkdir(parents=True, exist_ok=True)
        partial = place.with_name(f"{place.name}.partial")
        try:
            with partial.open("wb") as file:
                torch.save(checkpoint, file)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(place)
        except BaseException as error:
            partial.unlink(missing_ok=True)
            reason = error.__context__ if isinstance(error, RuntimeError) else error
            if isinstance(reason, OSError):  # torch.save hides it behind one of its own
                raise OSError(reason.errno, reason.strerror, str(place)) from error
            raise

    def load_checkpoint(self, path: Any, *_: Any, **__: Any) -> dict[str, Any]:
        """Read with our own reader, so that what was checked is what is used."""
        return read_file(path)
