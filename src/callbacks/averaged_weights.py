"""Averages the weights of a training."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, final

import lightning as L
from lightning.pytorch.callbacks import EMAWeightAveraging
from typing_extensions import override

from ..lightning_internals import take_average

log = logging.getLogger(__name__)
_MOST = 0.5  # share of the first step's weights in the average, above which it is warned of


@final
class AveragedWeights(EMAWeightAveraging):
    """Evaluates and saves an exponential moving average of the weights.

    It differs from Lightning's class where a checkpoint is resumed whose training has ended:
    nothing is trained then, and the network has the average, as at the end of the training. It
    also warns of a training that is too short for its decay.
    """

    def __init__(self, decay: float = 0.9999, **options: Any) -> None:
        """Weigh the average so far by `decay` at each update; `options` are Lightning's."""
        super().__init__(decay=decay, **options)
        self._decay = decay

    @override
    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        steps = trainer.estimated_stepping_batches
        share = self._decay ** (steps / self.update_every_n_steps - 1)
        if share > _MOST:
            log.warning(
                f"callbacks.ema.decay={self._decay} is for longer trainings: after the {steps} "
                f"steps of this one, {share:.0%} of the average, which is validated and saved, are "
                f"the weights of its first step: give {max(0.5, 1 - 10 / steps):.4g} or less."
            )

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
