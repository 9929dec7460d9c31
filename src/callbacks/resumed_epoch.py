"""Goes on within an epoch that was begun with other batches."""

from __future__ import annotations

from typing import final

import lightning as L

from ..datamodules.resumable import ResumableLoader
from ..lightning_internals import go_on_behind


@final
class ResumedEpoch(L.Callback):
    """Tells Lightning how many batches of a resumed epoch the loader leaves out.

    Their number is another one than in the checkpoint where batches have another size, or there
    are more or fewer processes.
    """

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Set the number, before the first batch is fetched."""
        loader = trainer.train_dataloader
        if isinstance(loader, ResumableLoader) and loader.behind is not None:
            go_on_behind(trainer, loader.behind)
