"""A schedule is searched on clips, and what is printed and refused of them."""

from __future__ import annotations

import pytest
import torch

from src.bench.__main__ import measure
from src.errors import InputError
from src.modules import create_student
from src.modules.search.search import search_schedule


@pytest.mark.slow
def test_a_schedule_is_searched_on_clips() -> None:
    student = create_student("video_micro", method="tome", rho=0.7).eval()
    clips = torch.randn(2, 3, 8, 32, 32)
    found = search_schedule(student, clips, budget=0.6, trials=2, batch_size=2, seed=0)
    assert found.images == 2
    assert 0.4 < found.steps[-1].gmacs / create_student("video_micro", method="dense").gmacs() < 0.6


def test_a_student_of_clips_says_its_frames() -> None:
    assert "8 frames of 32x32 px" in repr(create_student("video_micro", method="rlt", rho=0.5))


def test_a_layout_of_images_is_refused() -> None:
    rows = measure("video_micro", rho=0.5, batch_sizes=[1], method="rlt", channels_last=True)
    with pytest.raises(InputError, match="--channels-last is a layout of images"):
        next(rows)
