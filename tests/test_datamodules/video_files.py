"""Writes videos whose frames show their own number, and reads it back from the pixels."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from torch import Tensor

HEIGHT, WIDTH, BITS = 32, 96, 6
MILLISECOND = Fraction(1, 1000)


def picture(number: int) -> av.VideoFrame:
    """A frame of six columns, bright where the bit is 1; a bright edge says where the top is."""
    pixels = np.full((HEIGHT, WIDTH, 3), 30, np.uint8)
    for bit in range(BITS):
        if number >> bit & 1:
            pixels[16:, bit * 16 : bit * 16 + 16] = 220
    pixels[:8] = 220
    return av.VideoFrame.from_ndarray(pixels, format="rgb24")


def number_of(frame: Tensor) -> int:
    """The number that a frame `(3, HEIGHT, WIDTH)` shows."""
    assert frame.shape == (3, HEIGHT, WIDTH)
    assert frame[:, 1:7].float().mean() > 125 > frame[:, 10:14].float().mean(), "it is turned"
    bright = [frame[:, 18:30, bit * 16 + 4 : bit * 16 + 12].float().mean() for bit in range(BITS)]
    return sum(int(value > 125) << bit for bit, value in enumerate(bright))


def write_video(
    path: Path,
    codec: str = "mpeg4",
    *,
    frames: int = 20,
    rate: int | Fraction = 10,
    milliseconds: Sequence[int] | None = None,
    rotation: int = 0,
    options: dict[str, str] | None = None,
) -> Path:
    """Write a video; frames appear at `milliseconds`, else at a constant rate."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate, options=options or {})
        stream.width, stream.height = WIDTH, HEIGHT
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        if milliseconds is not None:
            stream.codec_context.time_base = MILLISECOND
        if rotation:
            if not hasattr(stream, "set_display_rotation"):
                pytest.skip("this PyAV writes no rotation")
            stream.set_display_rotation(rotation)
        for number in range(frames):
            frame = picture(number)
            if milliseconds is not None:
                frame.pts, frame.time_base = milliseconds[number], MILLISECOND
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def write_audio(path: Path) -> Path:
    """Write a second of silence."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=16000)
        stream.layout = "mono"
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 16000), np.float32), "fltp", "mono")
        frame.sample_rate = 16000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path
