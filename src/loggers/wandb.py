"""Logs to a W&B run that a resumed training continues."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import WandbLogger

from ..files import shortened

LONGEST_NAME = 128  # characters that W&B takes for a run's or a group's name


class ContinuedWandbLogger(WandbLogger):
    """Continues, in a resumed training, the W&B run whose files are in its folder."""

    def __init__(self, *, save_dir: str, continues: str | None = None, **options: Any) -> None:
        """Choose the W&B run to start or to continue.

        Args:
            save_dir: The training's folder; W&B's files are in its `wandb`.
            continues: The checkpoint that is resumed; None starts a new run.
            options: Of Lightning's `WandbLogger`; a `name` or `group` too long for W&B is cut.
        """
        for key in ("name", "group"):
            if options.get(key):
                options[key] = shortened(str(options[key]), LONGEST_NAME)
        if continues is not None:
            options["id"] = options.get("id") or _last_id(Path(save_dir))
        super().__init__(save_dir=save_dir, **options)


def _last_id(folder: Path) -> str | None:
    """Return the id of the latest `[offline-]run-<time>-<id>[-<number>]/run-<id>.wandb`.

    The time has seconds; of two runs within one, the folder written last is the later.
    """
    runs = sorted(folder.glob("wandb/*run-*/run-*.wandb"), key=_begun)
    return runs[-1].stem.removeprefix("run-") if runs else None


def _begun(run: Path) -> tuple[str, int]:
    time = run.parent.name.partition("run-")[2][: len("20260102_030405")]
    return time, run.parent.stat().st_mtime_ns
