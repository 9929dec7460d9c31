"""Train a sparse network: `python train.py backbone=deit_s rho=0.7 datamodule.root=...`."""

import signal
import sys

if __name__ == "__main__":
    from src.stopping import end_silently_while_importing

    end_silently_while_importing()

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import hydra
from omegaconf import DictConfig, OmegaConf


@hydra.main(config_path="conf", config_name="train", version_base="1.3")
def main(config: DictConfig) -> float | None:
    """Train; return the monitored metric for a sweeper."""
    from src.sweep.cell import run_cell

    return run_cell(config, row).get("metric")


def row(config: DictConfig) -> dict[str, Any]:
    """Train one student; in a sweep also measure it, as its report wants."""
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    from src.evaluation import trained_row

    trainer, module, data = fit(config)
    sweeping = HydraConfig.get().mode is RunMode.MULTIRUN
    if sweeping and config.monitor not in trainer.callback_metrics:
        trainer.validate(module, data, verbose=False)  # it had finished its epochs before
    metric = trainer.callback_metrics.get(config.monitor)
    result = {"metric": None if metric is None else float(metric)}
    if sweeping and trainer.is_global_zero:
        choices = HydraConfig.get().runtime.choices
        settings = OmegaConf.to_container(config, resolve=True)
        result |= {"backbone": choices["backbone"], "method": choices["method"]}
        result |= trained_row(settings, trainer, module, data)
    return result


def fit(config: DictConfig) -> tuple[Any, Any, Any]:
    """Check, build and fit; the trainer, the module and the data module."""
    from lightning.pytorch.utilities import rank_zero_only

    from src.lock import only_training_in

    folder = Path(config.paths.run)
    first = getattr(rank_zero_only, "rank", 0) == 0
    with only_training_in(folder) if first else nullcontext():
        return _fit(config)


def _fit(config: DictConfig) -> tuple[Any, Any, Any]:
    import torch
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode
    from lightning.pytorch.utilities.exceptions import SIGTERMException

    from src.assembly import assemble
    from src.errors import InputError
    from src.stopping import Stopped, asked, how_to_resume, raise_if_asked

    hydra_config = HydraConfig.get()
    choices, typed = dict(hydra_config.runtime.choices), list(hydra_config.overrides.task)
    torch.set_float32_matmul_precision("high")
    trainer, module, data, checkpoint = assemble(config, choices, typed)
    sweeping = hydra_config.mode is RunMode.MULTIRUN
    if sweeping and trainer.world_size > 1 and not _started_from_outside(trainer):
        raise InputError(
            f"A sweep cannot start {trainer.world_size} processes for each of its jobs: add "
            "trainer.devices=1, or start it by torchrun --nproc-per-node="
            f"{trainer.world_size} train.py -m ..."
        )
    try:
        trainer.fit(module, data, ckpt_path=checkpoint, weights_only=True)
        raise_if_asked()  # too late to stop anything
    except (SIGTERMException, Stopped):
        if not trainer.is_global_zero:
            sys.exit()  # the first process speaks for all
        stop = asked() or Stopped(signal.SIGTERM)
        if sweeping:
            raise stop from None
        again = f"the same command with {how_to_resume(config.paths.run)}"
        print(f"{stop.sentence} Go on: {again}", file=sys.stderr)
        sys.exit(stop.code)
    finally:
        if "wandb" in (config.get("logger") or {}):
            import wandb

            wandb.finish()  # else the next job of a multirun would continue this run
    return trainer, module, data


def _started_from_outside(trainer: Any) -> bool:
    """Whether torchrun, SLURM or the like started all processes, and not Lightning."""
    started: bool = trainer.strategy.cluster_environment.creates_processes_externally
    return started


if __name__ == "__main__":
    from src.errors import one_sentence_errors
    from src.help import help_if_asked
    from src.shell import for_hydra
    from src.sweep.name import name_run, name_sweep

    with one_sentence_errors():
        help_if_asked("train", sys.argv[1:])
        name_run()
        sys.argv[1:] = for_hydra(name_sweep(sys.argv[1:]))
        main()
