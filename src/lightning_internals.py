"""Reads and sets what Lightning keeps private or leaves undocumented; no other file does.

Read in Lightning 2.6.4 and 2.6.6, which agree in all of it. When Lightning is upgraded, this file
is what to compare with its source.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:  # files of the library may import this one without loading Lightning
    import lightning as L
    from lightning.pytorch.callbacks import ModelCheckpoint, WeightAveraging
    from lightning.pytorch.loggers import CSVLogger
    from lightning.pytorch.strategies import DDPStrategy, ModelParallelStrategy
    from torch import Tensor

Writer = TypeVar("Writer")


def epoch_in_progress(trainer: L.Trainer) -> int:
    """Return the index of the epoch that training has started last.

    `trainer.current_epoch` counts up at an epoch's end, before its checkpoints are saved: a state
    that is saved there would name the wrong epoch.
    """
    return trainer.fit_loop.epoch_progress.current.ready - 1


def batches_started(trainer: L.Trainer) -> int:
    """Return how many training batches of this epoch have been fetched, the present one included.

    No hook that runs before a batch goes to its device is told the batch's index.
    """
    return trainer.fit_loop.epoch_loop.batch_progress.current.ready


def batches_trained(trainer: L.Trainer) -> int:
    """Return how many training batches of this epoch have gone through their training step.

    `trainer.global_step` counts optimizer steps, which are fewer when gradients are accumulated.
    """
    return trainer.fit_loop.epoch_loop.batch_progress.current.processed  # type: ignore[attr-defined]


def batches_completed(trainer: L.Trainer) -> int:
    """Return how many training batches of this epoch are over, their callbacks included.

    An exception may come at any moment; only this tells whether the state is one between batches.
    """
    return trainer.fit_loop.epoch_loop.batch_progress.current.completed


def remake_train_loader(trainer: L.Trainer) -> None:
    """Have the training loader made anew when training starts.

    It exists already where a checkpoint is restored behind `strategy.setup`, as with sharded
    weights: optimizers are made there, and their schedules ask how many steps there are.
    """
    trainer.fit_loop._combined_loader = None


def go_on_behind(trainer: L.Trainer, batches: int) -> None:
    """Have the epoch that training resumes in go on behind its first `batches`.

    The counters of a batch, from ready to completed, keep their distance to each other, by which
    Lightning knows at which hook the state was saved.
    """
    current = trainer.fit_loop.epoch_loop.batch_progress.current
    shift = batches - batches_trained(trainer)
    for name, count in vars(current).items():
        setattr(current, name, count + shift)


def resumable_behind(trainer: L.Trainer, batches: int) -> bool:
    """Return whether a state saved behind the first `batches` of an epoch resumes as if unbroken.

    Lightning saves no gradients, so that those accumulated for the next step would be lost; and a
    state behind an epoch's last batch, before the validation, would resume with a batch too many.
    """
    within = 0 < batches < trainer.num_training_batches
    return within and batches % trainer.accumulate_grad_batches == 0


def end_as_by_sigterm(trainer: L.Trainer) -> None:
    """Have Lightning end the training after this batch, or this epoch, as if by a SIGTERM.

    `trainer.should_stop` would run a validation, and count the epoch as complete.
    """
    trainer._signal_connector.received_sigterm = True


def save_now(callback: ModelCheckpoint, trainer: L.Trainer) -> None:
    """Save a checkpoint where `callback` keeps its own, outside of its intervals.

    `trainer.save_checkpoint` alone would not tell the callback and the loggers of the file.
    """
    callback._save_checkpoint(trainer, callback.format_checkpoint_name({}))


def wrap_again(strategy: DDPStrategy) -> None:
    """Wrap the module for DDP anew, so that all its present parameters are synchronized.

    DDP reduces the gradients of those parameters alone that required them when it was made.
    """
    strategy.model = strategy.lightning_module
    strategy.configure_ddp()


def take_average(callback: WeightAveraging, module: L.LightningModule) -> None:
    """Give the network its averaged weights, outside of a training.

    Lightning does so at the end of a training alone, which one that had ended before never reaches.
    """
    if callback._average_model is not None:
        callback._copy_average_to_current(module)


def writer_of(logger: CSVLogger, make: Callable[[], Writer]) -> Writer:
    """Return the logger's writer of `metrics.csv`, which `make` makes at the first call.

    Lightning offers no way to choose the writer's class, and its own deletes older files.
    """
    if logger._experiment is None:
        logger._experiment = make()  # type: ignore[assignment]
    return logger._experiment  # type: ignore[return-value]


def share_among_all(strategy: ModelParallelStrategy) -> None:
    """Share weights among all processes of all machines, once their number is known.

    By itself Lightning shares them among machines alone.
    """
    strategy._data_parallel_size = strategy.num_nodes * strategy.num_processes


def load_shares(strategy: ModelParallelStrategy, weights: dict[str, Tensor]) -> None:
    """Load complete weights into a module of which each process holds a share.

    The strategy's own loading is bound to that of the optimizer's state.
    """
    from lightning.fabric.strategies.model_parallel import _load_raw_module_state

    module = strategy.lightning_module
    assert module is not None
    _load_raw_module_state(weights, module, strict=module.strict_loading)
