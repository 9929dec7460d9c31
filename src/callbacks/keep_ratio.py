"""How many tokens really go on."""

from __future__ import annotations

from typing import Any

import lightning as L


class KeepRatioLogger(L.Callback):
    """Logs `keep/<location>`, the mean share of patches kept in training, beside its target.

    `val_keep/<location>` is the same at validation, where tokens are removed.
    """

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Log one batch."""
        schedule = pl_module.student.method.schedule
        shares = outputs["kept"].mean(dim=1)
        for location, share, target in zip(
            schedule.locations, shares, schedule.ratios, strict=True
        ):
            pl_module.log(f"keep/{location}", share, on_step=True, on_epoch=False)
            pl_module.log(f"keep/{location}_target", target, on_step=True, on_epoch=False)

    def on_validation_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: Any,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Log one batch."""
        shares = outputs["kept"]
        locations = pl_module.student.method.schedule.locations
        for location, share in zip(locations, shares.mean(dim=1), strict=True):
            pl_module.log(f"val_keep/{location}", share, batch_size=shares.shape[1])
