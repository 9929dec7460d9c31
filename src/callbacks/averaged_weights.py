"""Averages the weights of a training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, final

import lightning as L
from lightning.pytorch.callbacks import EMAWeightAveraging
from typing_extensions import override

from ..lightning_internals import take_average


@final
class AveragedWeights(EMAWeightAveraging):
    """Evaluates and saves an exponential moving average of the weights.

    It differs from Lightning's class where a checkpoint is resumed whose training has ended:
    nothing is trained then, and the network has the average, as at the end of the training.
    """

    @override
    def on_load_checkpoint(
        self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        super().on_load_checkpoint(trainer, pl_module, checkpoint)
        if _has_ended(trainer, checkpoint):
            take_average(self, pl_module)


def _has_ended(trainer: L.Trainer, checkpoint: Mapping[str, Any]) -> bool:
    epochs = checkpoint["loops"]["fit_loop"]["epoch_progress"]["current"]["processed"]
    limits = ((epochs, trainer.max_epochs), (checkpoint["global_step"], trainer.max_steps))
    return any(most not in (None, -1) and done >= most for done, most in limits)
