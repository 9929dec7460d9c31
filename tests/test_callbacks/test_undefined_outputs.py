"""Outputs that are no numbers end a test, for metrics would count them as the first class."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import lightning as L
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset

from src.callbacks.undefined_outputs import UndefinedOutputs
from src.errors import InputError
from src.modules.backbones.output import SparseOutput
from src.modules.heads.base import DenseOutput, undefined


def output(logits: Tensor) -> SparseOutput:
    return SparseOutput(logits, logits[:, :0, None], logits[:, :0])


class Module(L.LightningModule):
    """Has what it is given as its logits."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(1, 1)

    def test_step(self, batch: Tensor, batch_idx: int) -> dict[str, object]:
        return {"output": output(batch), "kept": batch[:, :0]}

    validation_step = test_step


LOGITS = torch.tensor([[1.0, 2], [torch.nan, 1], [3, 2], [1, -torch.inf], [2, torch.nan]])


def trainer() -> L.Trainer:
    quiet = {"enable_model_summary": False, "enable_progress_bar": False, "logger": False}
    return L.Trainer(accelerator="cpu", callbacks=[UndefinedOutputs()], **quiet)


@pytest.mark.filterwarnings("ignore")
def test_a_test_ends_and_a_validation_warns(caplog: pytest.LogCaptureFixture) -> None:
    every, right = (DataLoader(rows, batch_size=2) for rows in (LOGITS, LOGITS[2:4]))
    with pytest.raises(InputError, match=r"2 of 5 images have outputs that are no numbers \(NaN\)"):
        trainer().test(Module(), every, verbose=False)
    with caplog.at_level(logging.WARNING):
        trainer().validate(Module(), every, verbose=False)
        trainer().validate(Module(), right, verbose=False)
    assert [m for m in caplog.messages if "NaN" in m] == [
        "2 of 5 images have outputs that are no numbers (NaN), so that the metrics of this "
        "validation mean nothing."
    ]
    trainer().test(Module(), right, verbose=False)


class Stream(IterableDataset[Tensor]):
    """Turns out to hold nothing."""

    def __iter__(self) -> Iterator[Tensor]:
        return iter(())


@pytest.mark.filterwarnings("ignore")
def test_no_image_is_no_accuracy() -> None:
    with pytest.raises(InputError, match="No image was evaluated, so that there is nothing"):
        trainer().test(Module(), DataLoader(Stream()), verbose=False)


def test_heads_are_looked_at() -> None:
    student = output(torch.zeros(2, 0))
    masks = torch.zeros(2, 3, 4, 4)
    masks[1, 2, 3, 0] = torch.nan
    assert undefined(DenseOutput(student, masks)).tolist() == [False, True]
    assert undefined(DenseOutput(student)).tolist() == [False, False]
    assert undefined(output(LOGITS)).tolist() == [False, True, False, False, True]
