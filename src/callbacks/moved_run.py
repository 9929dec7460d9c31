"""Keeps a training's best score where the folder of its run was moved or copied."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, final

import lightning as L
from lightning.pytorch.callbacks import ModelCheckpoint

# Of a state: paths, or a mapping from paths.
_PATHS = ("dirpath", "best_model_path", "kth_best_model_path", "last_model_path", "best_k_models")


@final
class MovedRun(L.Callback):
    """Tells the callbacks that save checkpoints where those of the resumed run lie now.

    Lightning's `ModelCheckpoint` forgets the best score where its folder has another name than
    when it was saved: the next epoch would replace the best checkpoint, however bad it is.
    """

    def on_load_checkpoint(
        self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Put the present folder into the states of callbacks that save to it.

        A state whose best checkpoint was not brought along stays, so that the next one is saved.
        """
        here = Path(str(trainer.ckpt_path)).parent.resolve()
        saving = (c for c in trainer.checkpoint_callbacks if isinstance(c, ModelCheckpoint))
        if str(here) not in {callback.dirpath for callback in saving}:
            return
        states = checkpoint.get("callbacks")
        for key, state in dict(states).items() if isinstance(states, Mapping) else ():
            if isinstance(state, Mapping) and isinstance(state.get("dirpath"), str):
                moved = _moved(state, here)
                best = moved.get("best_model_path")
                there = not best or Path(str(best)).is_file()
                if trainer.strategy.reduce_boolean_decision(there):
                    checkpoint["callbacks"] = {**checkpoint["callbacks"], key: moved}


def _moved(state: Mapping[str, Any], here: Path) -> dict[str, Any]:
    """Return the state of a `ModelCheckpoint` with its folder replaced by `here`."""
    before = Path(state["dirpath"])

    def moved(value: object) -> object:
        if isinstance(value, Mapping):
            return {moved(name): score for name, score in value.items()}
        if isinstance(value, str) and Path(value).is_relative_to(before):
            return str(here / Path(value).relative_to(before))
        return value

    return {key: moved(value) if key in _PATHS else value for key, value in state.items()}
