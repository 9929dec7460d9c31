"""Silences what libraries print that no user of a command can act on."""

from __future__ import annotations

import logging
import warnings

_NOT_FOR_US = ("Tip:", "TPU available", "HPU available")


def quiet_libraries() -> None:
    """Silence advertisements, notes on unused devices and libraries' own deprecations."""
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)  # CUDA_HOME, on CPUs
    for package in ("pytorch", "fabric"):
        logging.getLogger(f"lightning.{package}.utilities.rank_zero").addFilter(_concerns_the_run)
    warnings.filterwarnings("ignore", message=".*isinstance\\(treespec, LeafSpec\\)")


def _concerns_the_run(record: logging.LogRecord) -> bool:
    return not any(text in record.getMessage() for text in _NOT_FOR_US)
