"""Reads frames by torchcodec, which needs FFmpeg's libraries on the machine."""

from __future__ import annotations

import re

import numpy as np
from torchcodec.decoders import VideoDecoder

from .video_frames import Choose, Frames, Span, check_file, check_length, check_size


def check_loads() -> None:
    """Load FFmpeg's libraries now, which some releases of torchcodec put off.

    Raises:
        RuntimeError: If they cannot be loaded.
    """
    try:
        VideoDecoder(b"no video")
    except (RuntimeError, ValueError) as error:
        if "Could not load" in str(error):
            raise


def decode(path: str, choose: Choose) -> Frames:
    """Return the frames that are shown at chosen times.

    Args:
        path: The file.
        choose: Chooses the times, given the video's span.

    Raises:
        OSError: If there is no such file.
        ValueError: If it holds no video that can be decoded.
    """
    check_file(path)
    try:
        return _decode(path, choose)
    except (RuntimeError, ValueError) as error:
        # The message is "function, file.cpp:line, reason", and then advice.
        said = str(error).splitlines()[0].partition(". ")[0]
        raise ValueError(re.sub(r"^\w+, .*\.cpp:\d+, ", "", said)) from error


def _decode(path: str, choose: Choose) -> Frames:
    video = VideoDecoder(path)
    facts = video.metadata
    if facts.begin_stream_seconds is None or facts.end_stream_seconds is None or not len(video):
        raise ValueError("it holds no frame")
    span = Span(facts.begin_stream_seconds, facts.end_stream_seconds, len(video))
    check_length(span, facts.duration_seconds_from_header)
    check_size(facts.width or 0, facts.height or 0)
    times = choose(span).clip(span.begin, np.nextafter(span.end, span.begin))
    found, places = np.unique(times, return_inverse=True)
    return Frames(video.get_frames_played_at(found.tolist()).data, places.tolist())
