"""Reads clips of videos with one class each, and names those that cannot be read."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor
from torch.utils.data import Dataset

from .decoding import reason
from .labelled import ImageInputError

ReadClip = Callable[[str], Tensor]  # from a video file to the network's input


class LabelledClips(Dataset[tuple[Tensor, int]]):
    """Returns the network's input and the label of each video."""

    kind = "videos"
    lengths: Sequence[int] | None = None  # each is a file of its own

    def __init__(self, samples: Sequence[tuple[str, int]], read: ReadClip) -> None:
        """Read the files of `samples`, each a path and a label."""
        self._samples = samples
        self._read = read

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        """Return the clip or the views of a video, and its label.

        Raises:
            ImageInputError: If it cannot be read.
        """
        path, label = self._samples[index]
        try:
            return self._read(path), label
        except Exception as error:  # decoders raise whatever they like
            raise ImageInputError(
                f"{path} cannot be read as a video ({reason(error)}): replace or remove it, or "
                "leave such videos out with datamodule.on_bad_image=skip."
            ) from error

    def name(self, index: int) -> str:
        """Return a video's file."""
        return self._samples[index][0]
