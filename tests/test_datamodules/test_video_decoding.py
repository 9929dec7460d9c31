"""Frames of videos by time: codecs, containers, rates, rotation and damage."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("av")
from src.datamodules.video_decoding import decoder_of
from src.datamodules.video_frames import Span
from src.errors import InputError

from .video_files import number_of, picture, write_audio, write_video

VARIABLE = [0, 50, 90, 300, 400, 450, 500, 700, 800, 850, 1300, 1350, 1400, 1500, 1550, 1600]
KINDS = [
    ("mpeg4", "mp4"),
    ("mpeg4", "avi"),
    ("libx264", "mp4"),
    ("libx264", "mkv"),
    ("libvpx", "webm"),
    ("libvpx-vp9", "webm"),
    ("mjpeg", "avi"),
    ("mjpeg", "mkv"),
]
RATES = [10, Fraction(30000, 1001), 24]


@pytest.fixture(params=["pyav", "torchcodec"])
def decode(request: pytest.FixtureRequest):
    try:
        return decoder_of(request.param)
    except InputError as error:  # torchcodec without FFmpeg
        pytest.skip(str(error))


def numbers(decode, path: Path, times) -> list[int]:
    frames = decode(str(path), lambda span: np.array(times, dtype=np.float64))
    return [number_of(frames.pixels[place]) for place in frames.places]


def span_of(decode, path: Path) -> Span:
    found = []
    decode(str(path), lambda span: found.append(span) or np.array([0.0]))
    return found[0]


@pytest.mark.parametrize(("codec", "suffix"), KINDS)
def test_the_frame_that_is_shown_is_found(tmp_path, decode, codec, suffix):
    rate = RATES[len(codec + suffix) % len(RATES)]
    path = write_video(tmp_path / f"a.{suffix}", codec, frames=40, rate=rate)
    span = span_of(decode, path)
    assert span.frames == 40
    assert span.end - span.begin == pytest.approx(40 / float(rate), abs=0.005)
    order = np.random.default_rng(0).permutation(40)
    times = (order + 0.5) / float(rate)
    assert numbers(decode, path, times) == order.tolist()
    assert numbers(decode, path, [-1, 0, 1000]) == [0, 0, 39]


@pytest.mark.parametrize(("codec", "suffix"), [k for k in KINDS if k[1] != "avi"])
def test_at_a_variable_rate_too(tmp_path, decode, codec, suffix):
    path = write_video(tmp_path / f"a.{suffix}", codec, frames=16, milliseconds=VARIABLE)
    times = np.arange(0.012, 1.6, 0.025)
    expected = np.searchsorted(np.array(VARIABLE) / 1000, times, side="right") - 1
    assert numbers(decode, path, times) == expected.tolist()


def test_both_libraries_give_the_same_pixels(tmp_path):
    try:
        other = decoder_of("torchcodec")
    except InputError as error:
        pytest.skip(str(error))
    for codec, suffix in KINDS:
        turn = {"mpeg4": 90, "libx264": 270}[codec] if suffix == "mp4" else 0
        path = write_video(tmp_path / f"a.{suffix}", codec, rotation=turn)
        found, expected = (
            d(str(path), lambda span: span.begin + np.arange(0.05, 2, 0.1))
            for d in (other, decoder_of("pyav"))
        )
        torch.testing.assert_close(found.pixels[found.places], expected.pixels[expected.places])


@pytest.mark.parametrize("rotation", [90, 180, 270])
def test_frames_are_turned_as_the_file_says(tmp_path, decode, rotation):
    path = write_video(tmp_path / "a.mp4", rotation=rotation)
    frames = decode(str(path), lambda span: np.array([0.5]))
    upright = picture(5).to_ndarray(format="rgb24")
    expected = torch.from_numpy(np.rot90(upright, rotation // 90).copy()).permute(2, 0, 1)
    torch.testing.assert_close(frames.pixels[0].float(), expected.float(), atol=40, rtol=0)


def test_a_single_frame(tmp_path, decode):
    path = write_video(tmp_path / "a.mp4", frames=1)
    assert span_of(decode, path).frames == 1
    assert numbers(decode, path, [0, 0.04, 7]) == [0, 0, 0]


def test_little_of_a_long_video_is_decoded(tmp_path, monkeypatch):
    from src.datamodules import pyav_decoding

    path = write_video(tmp_path / "a.mp4", frames=600, rate=30, options={"g": "10"})
    decoded = []
    stamp = pyav_decoding._stamp
    monkeypatch.setattr(pyav_decoding, "_stamp", lambda f: decoded.append(f.pts) or stamp(f))
    times = [1.01, 10.01, 10.05, 19.01]
    expected = [int(time * 30) % 64 for time in times]
    assert numbers(decoder_of("pyav"), path, times) == expected
    assert len(set(decoded)) < 50


def cut(path: Path, share: float) -> Path:
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    return path


def noise(path: Path) -> Path:
    path.write_bytes(np.random.default_rng(0).bytes(5000))
    return path


FAULTS = {
    "nothing": (lambda p: p, "No such file"),
    "empty": (lambda p: p.touch() or p, "it is empty"),
    "folder": (lambda p: p.mkdir() or p, "it is a folder"),
    "noise": (noise, "it is damaged, or not a video"),
    "audio": (write_audio, "it holds audio and no video"),
    "half": (lambda p: cut(write_video(p), 0.5), "it holds no video, or is damaged"),
    "half in front": (
        lambda p: cut(write_video(p.with_suffix(".mkv"), "mjpeg"), 0.5),
        "it is truncated: its header states 2.0 s",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_damage_is_said(tmp_path, fault):
    make, said = FAULTS[fault]
    path = make(tmp_path / "a.mp4")
    with pytest.raises((ValueError, OSError), match=said):
        decoder_of("pyav")(str(path), lambda span: np.array([span.begin, span.end]))


def test_a_decoder_is_one_of_two():
    with pytest.raises(InputError, match="decoder=decord must be pyav or torchcodec"):
        decoder_of("decord")
