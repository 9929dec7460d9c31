"""Images for calibration: spread over the training data, never silently fewer than asked for."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest
import torch
from torch.utils.data import IterableDataset, TensorDataset

from src.errors import InputError
from src.export.files import calibration_images


def images_of(length: int) -> TensorDataset:
    numbers = torch.arange(length)
    return TensorDataset(numbers.view(-1, 1, 1, 1).expand(-1, 3, 2, 2), numbers)


def test_they_are_spread_over_the_data(caplog: pytest.LogCaptureFixture) -> None:
    found = calibration_images(images_of(96), 32)
    assert found[:, 0, 0, 0].tolist() == list(range(0, 96, 3))
    assert not caplog.records


def test_fewer_than_asked_for_are_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert len(calibration_images(images_of(40), 128)) == 40
    (record,) = caplog.records
    said = "calibration_images=128 is more than the 40 training images: all 40 are used."
    assert record.getMessage() == said


def test_too_few_are_refused() -> None:
    said = "calibration_images=128 needs at least 32 training images, and the data has 31:"
    with pytest.raises(InputError, match=said):
        calibration_images(images_of(31), 128)


def test_a_stream_is_refused() -> None:
    class Stream(IterableDataset[torch.Tensor]):
        def __len__(self) -> int:
            return 64

        def __iter__(self) -> Iterator[torch.Tensor]:
            return iter(torch.zeros(64))

    with pytest.raises(InputError, match="comes as a stream: give folders"):
        calibration_images(Stream(), 32)
