"""Which frames of a video make up a clip."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from src.datamodules.clip_sampling import sampling_of
from src.datamodules.video_frames import Span
from src.errors import InputError

TEN = Span(0.5, 10.5, 250)  # ten seconds at 25 frames a second


def frames(span: Span, times, rate: float = 25) -> list[int]:
    return np.floor((times - span.begin) * rate).astype(int).tolist()


@pytest.mark.parametrize("kind", ["stride", "segments"])
def test_training_draws_by_the_seed_alone(kind):
    sampling = sampling_of(kind, frames=8, stride=4, rate=None)
    drawn = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        drawn.append(frames(TEN, sampling.training(TEN)))
    assert drawn[0] == drawn[1] != drawn[2]


def test_a_stride_counts_frames_and_every_start_occurs():
    sampling = sampling_of("stride", frames=4, stride=3, rate=None)
    short = Span(0, 0.48, 12)
    starts = set()
    for _ in range(100):
        found = frames(short, sampling.training(short))
        assert np.diff(found).tolist() == [3, 3, 3]
        starts.add(found[0])
    assert starts == {0, 1, 2}


def test_a_stride_may_count_at_a_nominal_rate():
    sampling = sampling_of("stride", frames=4, stride=5, rate=10)
    assert np.diff(sampling.evaluation(TEN, 1)).tolist() == pytest.approx([0.5] * 3)


def test_clips_are_spread_from_the_first_start_to_the_last():
    sampling = sampling_of("stride", frames=16, stride=4, rate=None)
    clips = np.array(frames(TEN, sampling.evaluation(TEN, 3))).reshape(3, 16)
    assert clips[:, 0].tolist() == [0, 94, 189]
    assert clips[2, -1] == 249
    assert frames(TEN, sampling.evaluation(TEN, 1))[0] == 94


def test_segments_have_one_frame_each():
    sampling = sampling_of("segments", frames=5, stride=1, rate=None)
    for _ in range(20):
        assert [f // 50 for f in frames(TEN, sampling.training(TEN))] == [0, 1, 2, 3, 4]
    clips = np.array(frames(TEN, sampling.evaluation(TEN, 2))).reshape(2, 5)
    assert clips[0].tolist() == [12, 62, 112, 162, 212]
    assert clips[1].tolist() == [37, 87, 137, 187, 237]


@pytest.mark.parametrize("kind", ["stride", "segments"])
def test_a_short_video_repeats_frames(kind):
    sampling = sampling_of(kind, frames=6, stride=2, rate=None)
    three = Span(0, 0.12, 3)
    expected = {"stride": [0, 2, 2, 2, 2, 2], "segments": [0, 0, 1, 1, 2, 2]}[kind]
    assert frames(three, sampling.evaluation(three, 1)) == expected
    one = Span(0, 0, 1)
    assert set(sampling.training(one)) <= {0.5}


def test_other_ways_are_refused():
    with pytest.raises(InputError, match="sampling=dense must be stride or segments"):
        sampling_of("dense", frames=8, stride=4, rate=None)
