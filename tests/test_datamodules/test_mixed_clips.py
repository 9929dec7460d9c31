"""Mixup and cutmix of clips: one share a clip, the same box in all of its frames."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from src.config import compose_config, instantiate
from src.datamodules.videos import VideoModule
from src.errors import InputError

SETTINGS = {
    "moving_digits": {"batch_size": 4, "val_images": 6},
    "kinetics": {"batch_size": 4, "num_frames": 8, "root": "videos"},
}


def made(name: str, mixup: dict[str, Any], **changes: Any) -> Any:
    settings = compose_config([f"datamodule={name}", "backbone=video_micro"], ["datamodule"])
    small = SETTINGS[name] | {"image_size": 32, "num_workers": 0, "mixup": mixup}
    return instantiate(settings["datamodule"] | small | changes)


def mixed(mixup: dict[str, Any]) -> tuple[Tensor, Tensor]:
    """Mix clips of constant pixels: clip b has b in its first frame and a tenth more in each."""
    data = made("moving_digits", mixup)
    data.setup("fit")
    data.trainer = SimpleNamespace(training=True)
    frames = torch.arange(4.0).view(4, 1, 1, 1, 1) + 0.1 * torch.arange(8.0).view(8, 1, 1)
    clips = frames.expand(4, 3, 8, 32, 32).clone()
    return data.on_after_batch_transfer((clips, torch.arange(4)), 0)


def test_a_clip_is_mixed_by_one_share() -> None:
    clips, labels = mixed({"mixup_alpha": 0.8, "label_smoothing": 0.0})
    share = labels[0, 0]
    assert 0 < share < 1
    expected = 3 * (1 - share) + 0.1 * torch.arange(8.0).view(8, 1, 1)
    torch.testing.assert_close(clips[0], expected.expand(3, 8, 32, 32))


def test_a_box_is_the_same_in_all_frames() -> None:
    options = {"mixup_alpha": 0.0, "cutmix_minmax": [0.3, 0.7], "label_smoothing": 0.0}
    clips, labels = mixed(options)
    of_another = clips[0] - 0.1 * torch.arange(8.0).view(8, 1, 1) > 1.5  # (3, T, S, S)
    assert torch.equal(of_another, of_another[:1, :1].expand_as(of_another))
    rows, columns = (of_another[0, 0].any(dim=side) for side in (1, 0))
    assert of_another[0, 0].sum() == rows.sum() * columns.sum()
    assert 0 < of_another.float().mean() < 1
    torch.testing.assert_close(labels[0, 3], of_another.float().mean())


def test_views_are_left_as_they_are() -> None:
    data = made("moving_digits", {"mixup_alpha": 0.8})
    data.setup("fit")
    data.trainer = SimpleNamespace(training=False)
    batch = torch.randn(4, 1, 3, 8, 32, 32), torch.arange(4)
    assert data.on_after_batch_transfer(batch, 0) is batch


def test_videos_take_the_same_options() -> None:
    data = made("kinetics", {"mixup_alpha": 0.8, "cutmix_alpha": 1.0}, root=str(Path.cwd()))
    assert isinstance(data, VideoModule)
    with pytest.raises(InputError, match=r"batch_size=3 is odd, but mixup pairs"):
        made("kinetics", {"mixup_alpha": 0.8}, root=str(Path.cwd()), batch_size=3)
