"""Every choice that a training records is one that its evaluation takes."""

from __future__ import annotations

from typing import Any

import pytest
from omegaconf import OmegaConf

from src.runs.record import _NOT_TAKEN, _RECORDED
from src.runs.record_checks import check_values
from tests.test_configs import composed, names

CHOICES = [f"{group}={name}" for group in ("datamodule", "schedule") for name in names(group)]


@pytest.mark.parametrize("choice", CHOICES)
def test_a_record_of_every_data_set_and_schedule_is_taken(choice: str) -> None:
    record: Any = OmegaConf.to_container(composed("train", choice), resolve=False)
    taken = {key: record[key] for key in ("rho", *_RECORDED) if key in record}
    check_values(taken, _NOT_TAKEN, "last.ckpt")
