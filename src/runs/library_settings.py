"""Declares which values the settings of libraries' classes may have, for they cannot do it."""

from __future__ import annotations

import torch
from typing_extensions import override

from ..ranges import Allowed, Number, Pair


class Precision(Allowed):
    """Accepts any precision of Lightning's that keeps the weights in 32 bits."""

    @override
    def fault(self, key: str, value: object) -> str:
        if str(value) not in ("64", "64-true", "16-true", "bf16-true"):
            return ""
        return (
            f"{key}={value} is not supported, for weights stay in 32 bits: choose 32-true, "
            "bf16-mixed or 16-mixed."
        )


class Accelerator(Allowed):
    """Accepts any accelerator of Lightning's that PyTorch finds on this machine."""

    @override
    def fault(self, key: str, value: object) -> str:
        found = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
        found["gpu"] = any(found.values())
        if found.get(str(value), True):
            return ""
        return (
            f"{key}={value}, but PyTorch sees no such device here: choose trainer=cpu, or "
            "trainer=default for whatever there is."
        )


class ValidationInterval(Allowed):
    """Accepts what Lightning takes but 0, by which it would divide."""

    @override
    def fault(self, key: str, value: object) -> str:
        if value != 0:
            return ""
        return f"{key}={value} must be a share of an epoch up to 1.0, or a number of steps from 1."


# By library and class; subclasses have the settings too.
SETTINGS: dict[str, dict[str, Allowed]] = {
    "lightning.Trainer": {
        "max_epochs": Number(30, least=1, whole=True),
        "min_epochs": Number(1, least=0, whole=True, optional=True),
        "max_steps": Number(1000, least=-1, whole=True),
        "min_steps": Number(1, least=0, whole=True, optional=True),
        "gradient_clip_val": Number(1.0, least=0, optional=True),
        "accumulate_grad_batches": Number(1, least=1, whole=True),
        "val_check_interval": ValidationInterval(),
        "check_val_every_n_epoch": Number(1, least=1, whole=True, optional=True),
        "log_every_n_steps": Number(20, least=0, whole=True, optional=True),
        "num_sanity_val_steps": Number(0, least=-1, whole=True, optional=True),
        "accelerator": Accelerator(),
        "precision": Precision(),
    },
    "lightning.EMAWeightAveraging": {"decay": Number(0.9999, least=0, most=1)},
    "torch.Optimizer": {"betas": Pair("[0.9,0.999]", Number(0.9, least=0, below=1))},
}
