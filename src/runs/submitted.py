"""Finds the place of this process among those that submitit has started on one machine."""

from __future__ import annotations

import os


def join_submitted_job() -> None:
    """Tell Lightning which of a job's processes this one is, if `submitit_local` started several.

    Lightning knows the variables of torchrun and of SLURM, and not submitit's.
    """
    environment = os.environ
    if int(environment.get("SUBMITIT_LOCAL_NTASKS", 1)) < 2 or "LOCAL_RANK" in environment:
        return
    from lightning.pytorch.utilities import rank_zero_only
    from submitit.helpers import TorchDistributedEnvironment

    place = TorchDistributedEnvironment().export(set_cuda_visible_devices=False)
    environment["MASTER_ADDR"] = "127.0.0.1"  # a machine may not know its own name
    rank_zero_only.rank = place.rank  # type: ignore[attr-defined]
