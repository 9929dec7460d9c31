"""An orderly end when the machine is taken away."""

from __future__ import annotations

import signal
import threading
from typing import Any, final

import lightning as L


@final
class StopAtSignal(L.Callback):
    """At a SIGTERM to any process all of them stop behind the same batch, and can save.

    Lightning's own handler, which this one replaces, communicates from within the signal, whatever
    the processes are exchanging at that moment. A validation is finished first.
    """

    def __init__(self) -> None:
        self.received = False

    def on_train_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Take over the signal, which only a main thread may; the Trainer gives it back."""
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self._note)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Let Lightning end the training behind this batch if any process has been told to.

        Not behind an epoch's last one, upon which a validation follows that would be cut short.
        """
        told = trainer.strategy.reduce_boolean_decision(self.received, all=False)
        if told and batch_idx + 1 < trainer.num_training_batches:
            trainer._signal_connector.received_sigterm = True

    def _note(self, *_: Any) -> None:
        self.received = True
