"""What can be said of a configuration before anything is built from it."""

from __future__ import annotations

from numbers import Real
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from .errors import InputError


def check_config(config: DictConfig) -> None:
    """Check types and ranges of the settings that people change most.

    Raises:
        InputError: One sentence with the key, its value and a valid one.
    """
    missing = sorted(OmegaConf.missing_keys(config))
    if missing:
        raise InputError(f"{missing[0]} has no value: give one, as {missing[0]}=...")
    _number(config, "rho", above=0, most=1, example=0.7)
    _number(config, "seed", least=0, whole=True, example=42)
    _number(config, "datamodule.batch_size", least=1, whole=True, example=32)
    _number(config, "datamodule.num_workers", least=0, whole=True, example=4)
    _number(config, "optimizer.lr", above=0, example=1e-3)
    _number(config, "optimizer.reference_batch", least=1, whole=True, example=1024)
    _number(config, "optimizer.backbone_lr_scale", least=0, example=0.01)
    _number(config, "optimizer.weight_decay", least=0, example=0.05)
    _number(config, "optimizer.warmup_epochs", least=0, example=5)
    _number(config, "trainer.max_epochs", least=1, whole=True, example=30)
    _number(config, "backbone.image_size", least=1, whole=True, example=224)
    for name, term in (config.loss or {}).items():
        if "weight" in term:
            _number(config, f"loss.{name}.weight", least=0, example=0.5)
    for key in ("ckpt_path", "backbone.weights"):
        path = OmegaConf.select(config, key)
        if path is not None and not Path(path).is_file():
            raise InputError(f"{key}={path} is not a file: give the path of a checkpoint.")


def _number(
    config: DictConfig,
    key: str,
    *,
    least: float | None = None,
    above: float | None = None,
    most: float | None = None,
    whole: bool = False,
    example: Any,
) -> None:
    value = OmegaConf.select(config, key)
    good = isinstance(value, int if whole else Real) and not isinstance(value, bool)
    good = good and (least is None or value >= least)
    good = good and (above is None or value > above) and (most is None or value <= most)
    if not good:
        kind = "a whole number" if whole else "a number"
        bounds = [
            f"{word} {bound:g}"
            for word, bound in (("from", least), ("above", above), ("up to", most))
            if bound is not None
        ]
        raise InputError(
            f"{key}={value!r} must be {kind} {' and '.join(bounds)}, as {key}={example:g}."
        )
