"""Reads frames by PyAV, whose wheel brings FFmpeg's libraries along."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import av
import numpy as np
import numpy.typing as npt
import torch
from av.container import InputContainer
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from torch import Tensor

from .video_frames import Choose, Frames, Span, check_file, check_length, check_size

_MICROSECONDS = 1_000_000  # in a second; a container's times are in these


class _Table(NamedTuple):
    """Lists the time stamps of a stream's frames, ascending, in units of its time base."""

    stamps: npt.NDArray[np.int64]
    keys: npt.NDArray[np.int64]  # those at which decoding can start
    end: int


def decode(path: str, choose: Choose) -> Frames:
    """Return the frames that are shown at chosen times, decoding no more than is needed for them.

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
    except av.EOFError as error:
        raise ValueError("it ends within its header") from error
    except av.InvalidDataError as error:
        raise ValueError("it is damaged, or not a video that FFmpeg knows") from error
    except av.FFmpegError as error:
        raise ValueError(error.strerror or type(error).__name__) from error


def _decode(path: str, choose: Choose) -> Frames:
    with av.open(path, metadata_errors="ignore") as container:
        stream = _stream(container)
        table = _table(container, stream)
        base = stream.time_base
        assert base is not None
        seconds = table.stamps * base.numerator / base.denominator
        end = table.end * base.numerator / base.denominator
        span = Span(float(seconds[0]), float(end), len(seconds))
        check_length(span, _stated(container, stream))
        indices = np.searchsorted(seconds, choose(span), side="right") - 1
        found, places = np.unique(indices.clip(min=0), return_inverse=True)
        pixels = _pixels(container, stream, table, table.stamps[found])
    return Frames(torch.stack(pixels), places.tolist())


def _stream(container: InputContainer) -> VideoStream:
    """Return the first video stream; a song's cover picture does not count."""
    videos = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
    if not videos:
        if container.streams.audio:
            raise ValueError("it holds audio and no video")
        raise ValueError("it holds no video, or is damaged")
    stream = videos[0]
    if stream.codec_context is None:
        raise ValueError("no decoder for its codec is installed")
    stream.thread_count = 1  # loader processes run side by side
    check_size(stream.width, stream.height)
    return stream


def _stated(container: InputContainer, stream: VideoStream) -> float | None:
    """Return how many seconds the header states for the video."""
    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    alone = len(container.streams) == 1  # others may be longer
    return container.duration / _MICROSECONDS if alone and container.duration else None


def _table(container: InputContainer, stream: VideoStream) -> _Table:
    stamps, keys, end = [], [], 0
    for packet in container.demux(stream):
        stamp = packet.dts if packet.pts is None else packet.pts
        if stamp is None or not packet.size or packet.is_discard:
            continue
        stamps.append(stamp)
        end = max(end, stamp + (packet.duration or 0))
        if packet.is_keyframe:
            keys.append(stamp)
    if not stamps:
        raise ValueError("it holds no frame")
    return _Table(np.unique(stamps), np.unique(keys or stamps[:1]), end)


def _pixels(
    container: InputContainer,
    stream: VideoStream,
    table: _Table,
    stamps: npt.NDArray[np.int64],
) -> list[Tensor]:
    """Return the frames at the ascending time `stamps`, each `(3, H, W)`."""
    pixels: list[Tensor] = []
    shown: VideoFrame | None = None
    coming: VideoFrame | None = None
    frames: Iterator[VideoFrame] | None = None
    for stamp in stamps.tolist():
        key = int(table.keys[max(0, np.searchsorted(table.keys, stamp, side="right") - 1)])
        if frames is None or (coming is not None and key > _stamp(coming)):
            frames, shown = _frames_from(container, stream, key), None
            coming = next(frames, None)
            if coming is not None and _stamp(coming) > stamp:  # the file's index is wrong
                frames = _frames_from(container, stream, int(table.stamps[0]))
                coming = next(frames, None)
        while coming is not None and _stamp(coming) <= stamp:
            shown, coming = coming, next(frames, None)
        chosen = shown or coming
        if chosen is None:
            raise ValueError("none of its frames can be decoded")
        pixels.append(_rgb(chosen))
        if pixels[-1].shape != pixels[0].shape:
            raise ValueError("its frames change their size")
    return pixels


def _frames_from(container: InputContainer, stream: VideoStream, key: int) -> Iterator[VideoFrame]:
    """Decode from the last place at or before the time stamp `key` where decoding can start."""
    container.seek(key, stream=stream)
    return (frame for frame in container.decode(stream) if frame.pts is not None)


def _stamp(frame: VideoFrame) -> int:
    assert frame.pts is not None
    return frame.pts


def _rgb(frame: VideoFrame) -> Tensor:
    """Return a frame `(3, H, W)` of 8 bits, turned as its display matrix says."""
    pixels = torch.from_numpy(frame.to_ndarray(format="rgb24")).permute(2, 0, 1)
    return torch.rot90(pixels, round(frame.rotation / 90), (1, 2))
