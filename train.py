"""Train a sparse network: `python train.py backbone=deit_s rho=0.7 datamodule.root=...`."""

import hydra
from omegaconf import DictConfig, OmegaConf


@hydra.main(config_path="conf", config_name="train", version_base="1.3")
def main(config: DictConfig) -> float | None:
    """Compose, check, fit; return the monitored metric for a sweeper."""
    import lightning as L
    import torch
    from hydra.core.hydra_config import HydraConfig

    from src.callbacks.run_record import RunRecord
    from src.modules.build import instantiate
    from src.validation import check_config

    check_config(config)
    settings = OmegaConf.to_container(config, resolve=True)
    L.seed_everything(settings["seed"], workers=True)
    torch.set_float32_matmul_precision("high")

    datamodule = instantiate(settings["datamodule"])
    datamodule.check()
    module = instantiate(
        settings["task"],
        num_classes=datamodule.num_classes,
        present_classes=datamodule.present_classes,
    )
    callbacks = [instantiate(callback) for callback in settings["callbacks"].values() if callback]
    choices = dict(HydraConfig.get().runtime.choices)
    callbacks.append(RunRecord(OmegaConf.to_container(config), choices))
    trainer = instantiate(
        settings["trainer"],
        callbacks=callbacks,
        logger=[instantiate(logger) for logger in (settings["logger"] or {}).values()],
    )
    for logger in trainer.loggers:
        logger.log_hyperparams(settings)
    try:
        trainer.fit(module, datamodule, ckpt_path=settings["ckpt_path"])
    finally:
        if "wandb" in (settings["logger"] or {}):
            import wandb

            wandb.finish()  # else the next job of a multirun would continue this run
    metric = trainer.callback_metrics.get(settings["monitor"])
    return None if metric is None else float(metric)


if __name__ == "__main__":
    from src.errors import one_sentence_errors

    with one_sentence_errors():
        main()
