"""Ends a training in an orderly way at a signal, as SIGTERM or Ctrl-C."""

from __future__ import annotations

from types import FrameType
from typing import final

import lightning as L
import torch

from ..lightning_internals import end_as_by_sigterm, resumable_behind
from ..shell.stopping import end, name_of, note, remember, say, take_over


@final
class StopAtSignal(L.Callback):
    """Stops all processes after the same step when any of them receives a signal.

    The signals are those of `src.shell.stopping`. Lightning's own handler, which this one replaces,
    communicates between processes from within the signal, in the middle of other communication. A
    validation is finished first. A second Ctrl-C, and any signal in a test, ends the run at once.
    """

    def __init__(self) -> None:
        self.received = 0  # the signal's number

    def on_sanity_check_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Take over the signals; the Trainer restores the former handlers at the end."""
        self._heed(trainer)

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Take over the signals in a training that starts without a sanity check."""
        self._heed(trainer)

    def on_test_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """End at once at any signal of a test, which has nothing to save."""
        take_over(end)

    def on_predict_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """End at once at any signal of a prediction, as of a test."""
        take_over(end)

    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: object,
        batch: object,
        batch_idx: int,
    ) -> None:
        """Have Lightning end the training after this step if any process received a signal.

        An epoch's last batch is left out: the validation that follows it would be cut short.
        """
        if resumable_behind(trainer, batch_idx + 1):
            self._stop_if_asked(trainer)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Stop after an epoch's validation; the last epoch ends the training anyway."""
        # Not by `fit_loop.done`: Lightning counts the epoch as completed where it is asked.
        if trainer.current_epoch + 1 != trainer.max_epochs:
            self._stop_if_asked(trainer)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Tell all processes of a signal that came too late to stop the training."""
        self._agree(trainer)

    def _stop_if_asked(self, trainer: L.Trainer) -> None:
        if self._agree(trainer):
            end_as_by_sigterm(trainer)

    def _agree(self, trainer: L.Trainer) -> bool:
        """Return whether any process received a signal, and remember it in all of them."""
        strategy = trainer.strategy
        if not strategy.reduce_boolean_decision(bool(self.received), all=False):
            return False
        number = torch.tensor(self.received, device=strategy.root_device)
        self.received = int(strategy.reduce(number, reduce_op="max"))
        remember(self.received)
        return True

    def _heed(self, trainer: L.Trainer) -> None:
        def handle(number: int, _: FrameType | None) -> None:
            self.received = self.received or int(number)
            if note(number) and trainer.is_global_zero:
                say(
                    f"{name_of(number)}: the training stops after this step and the validation "
                    "that may follow it, and saves; a second Ctrl-C ends it at once."
                )

        take_over(handle)
