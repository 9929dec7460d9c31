"""Files run in calls of one size, whatever the loader's batches are, and on all views of a clip."""

from __future__ import annotations

import torch
from torch import Tensor

from src.export.calls import outputs_of


class Noted:
    """Returns each input's mean and twice it as logits, and notes how many inputs a call has."""

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def __call__(self, images: Tensor) -> tuple[Tensor, ...]:
        self.sizes.append(len(images))
        mean = images.flatten(1).mean(dim=1)
        return torch.stack([mean, 2 * mean], dim=1), mean


def test_calls_have_one_size() -> None:
    run, images = Noted(), torch.randn(11, 3, 8, 8)
    batches = [(part, torch.full((len(part),), len(part))) for part in images.split([2, 7, 2])]
    ((logits, mean),), labels = outputs_of([run], batches, 4)
    assert run.sizes == [4, 4, 3]
    assert torch.equal(mean, images.flatten(1).mean(dim=1))
    assert torch.equal(logits, torch.stack([mean, 2 * mean], dim=1))
    assert labels.tolist() == [2] * 2 + [7] * 7 + [2] * 2


def test_views_are_averaged_as_probabilities() -> None:
    run, clips = Noted(), torch.randn(5, 3, 3, 2, 8, 8)
    batches = [(part, torch.zeros(len(part))) for part in clips.split(2)]
    ((logits, mean),), labels = outputs_of([run], batches, 4)
    assert run.sizes == [4, 4, 4, 3]
    assert len(labels) == len(logits) == 5
    assert len(mean) == 15
    shares = torch.stack([mean, 2 * mean], dim=1).softmax(dim=1).view(5, 3, 2).mean(dim=1)
    torch.testing.assert_close(logits.exp(), shares)
