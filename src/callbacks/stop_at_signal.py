"""An orderly end when the machine is taken away."""

from __future__ import annotations

import signal
from typing import Any, final

import lightning as L
from lightning.pytorch.utilities.exceptions import SIGTERMException


@final
class StopAtSignal(L.Callback):
    """At a SIGTERM to any process all of them stop before the same batch, where they can save.

    Lightning's own handler, which this one replaces, communicates from within the signal, whatever
    the processes are exchanging at that moment. A validation is finished first.
    """

    def __init__(self) -> None:
        self.received = False

    def on_train_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Take over the signal; the Trainer gives it back at its end."""
        signal.signal(signal.SIGTERM, self._note)

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: Any, batch: Any, batch_idx: int
    ) -> None:
        """Stop if any process has been told to.

        Raises:
            SIGTERMException: Upon which `StepCheckpoint` saves.
        """
        if trainer.strategy.reduce_boolean_decision(self.received, all=False):
            raise SIGTERMException

    def _note(self, *_: Any) -> None:
        self.received = True
