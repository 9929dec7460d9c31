"""A checkpoint that knows the configuration it came from."""

from __future__ import annotations

from typing import Any

import lightning as L


class RunRecord(L.Callback):
    """Stores the run's configuration, with its interpolations, in every checkpoint as `run`."""

    def __init__(self, config: dict[str, Any], choices: dict[str, str]) -> None:
        """Record.

        Args:
            config: The composed configuration, unresolved.
            choices: The option chosen in each group.
        """
        self.record = {"config": config, "choices": choices}

    def on_save_checkpoint(
        self, trainer: L.Trainer, pl_module: Any, checkpoint: dict[str, Any]
    ) -> None:
        """Add the record."""
        checkpoint["run"] = self.record
