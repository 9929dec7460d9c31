"""Chooses the library that reads the frames of videos."""

from __future__ import annotations

from ..errors import InputError
from .video_frames import Decode

DECODERS = ("pyav", "torchcodec")


def decoder_of(name: str) -> Decode:
    """Return the function that reads frames by the library `name`.

    For each time that function returns the frame that is shown then: the last one whose time stamp
    is not later, or the first frame for earlier times. It may raise any error of the library; see
    `reason`.

    Raises:
        InputError: If there is no such library, or it cannot be loaded.
    """
    if name not in DECODERS:
        raise InputError(f"datamodule.decoder={name} must be {' or '.join(DECODERS)}.")
    if name == "pyav":
        try:
            from .pyav_decoding import decode
        except ImportError as error:
            raise InputError(
                "datamodule.decoder=pyav needs the package av: pip install 'tokenthrift[video]'."
            ) from error
        return decode
    try:
        from . import torchcodec_decoding

        torchcodec_decoding.check_loads()
    except (ImportError, OSError, RuntimeError) as error:
        raise InputError(
            "datamodule.decoder=torchcodec cannot be loaded: it needs the package torchcodec, in a "
            "release made for this torch, and FFmpeg's libraries on this machine; "
            "datamodule.decoder=pyav brings its own."
        ) from error
    return torchcodec_decoding.decode
