"""Train a sparse network: `python train.py backbone=deit_s rho=0.7 datamodule.root=...`."""

import logging
import signal
import sys
from pathlib import Path
from typing import Any

import hydra
from omegaconf import DictConfig, OmegaConf

log = logging.getLogger("src.train")


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
    metric = trainer.callback_metrics.get(config.monitor)
    result = {"metric": None if metric is None else float(metric)}
    if HydraConfig.get().mode is RunMode.MULTIRUN and trainer.is_global_zero:
        choices = HydraConfig.get().runtime.choices
        settings = OmegaConf.to_container(config, resolve=True)
        result |= {"backbone": choices["backbone"], "method": choices["method"]}
        result |= trained_row(settings, trainer, module, data)
    return result


def fit(config: DictConfig) -> tuple[Any, Any, Any]:
    """Check, build and fit; the trainer, the module and the data module."""
    import lightning as L
    import torch
    from hydra.core.hydra_config import HydraConfig
    from lightning.pytorch.utilities.exceptions import SIGTERMException

    from src.callbacks.run_record import RunRecord
    from src.modules.build import instantiate
    from src.modules.checkpoints import check_resumable, newest_checkpoint
    from src.validation import check_config, check_monitor, check_target

    check_config(config)
    settings = OmegaConf.to_container(config, resolve=True)
    L.seed_everything(settings["seed"], workers=True, verbose=False)
    torch.set_float32_matmul_precision("high")

    datamodule = instantiate(settings["datamodule"])
    datamodule.check()
    module = instantiate(
        settings["task"],
        num_classes=datamodule.num_classes,
        present_classes=datamodule.present_classes,
    )
    check_target(module.target, datamodule.targets)
    check_monitor(settings["monitor"], module.validation_metrics())
    path = settings["ckpt_path"]
    if path == "last":
        path = newest_checkpoint(Path(settings["paths"]["run"]) / "checkpoints")
        log.info(f"Resuming from {path}." if path else "No checkpoint yet: training starts afresh.")
    if path:
        check_resumable(module.student, path, settings["trainer"]["max_epochs"])
    chosen = settings.get("callbacks", {}).values()
    callbacks = [instantiate(callback) for callback in chosen if callback]
    choices = dict(HydraConfig.get().runtime.choices)
    callbacks.append(RunRecord(OmegaConf.to_container(config), choices))
    loggers = [instantiate(logger) for logger in settings.get("logger", {}).values() if logger]
    trainer = instantiate(settings["trainer"], callbacks=callbacks, logger=loggers)
    for logger in loggers:
        logger.log_hyperparams(settings | {"choices": choices})
    try:
        trainer.fit(module, datamodule, ckpt_path=path)
    except SIGTERMException:
        print("Stopped by SIGTERM. Go on: the same command with", end=" ", file=sys.stderr)
        print(f"ckpt_path=last hydra.run.dir={settings['paths']['run']}", file=sys.stderr)
        sys.exit(128 + signal.SIGTERM)
    finally:
        if "wandb" in settings.get("logger", {}):
            import wandb

            wandb.finish()  # else the next job of a multirun would continue this run
    return trainer, module, datamodule


if __name__ == "__main__":
    from src.errors import one_sentence_errors
    from src.help import help_if_asked
    from src.sweep.name import name_sweep

    with one_sentence_errors():
        help_if_asked("train", sys.argv[1:])
        sys.argv[1:] = name_sweep(sys.argv[1:])
        main()
