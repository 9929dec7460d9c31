"""Loads UCF101: class folders of videos, and lists of three splits into training and test."""

from __future__ import annotations

from functools import cached_property

from typing_extensions import Unpack, override

from ..errors import InputError
from ..ranges import Number, Text
from .clip_files import ClipFiles, lines_of
from .listing import find_listed
from .videos import VideoModule, VideoSettings


class SplitLists(ClipFiles):
    """Reads `trainlist0N.txt`, `testlist0N.txt` and, for the order of classes, `classInd.txt`."""

    def __init__(self, root: str | None, videos: str, lists: str, split: int) -> None:
        """Keep the names of the folders of videos and lists, and the number of the split."""
        super().__init__(root)
        self._videos_in, self._lists_in, self._split = videos, lists, split

    @override
    def declared_classes(self) -> list[str]:
        file = self.root / self._lists_in / "classInd.txt"
        names = [line.split() for _, line in lines_of(file)]
        if [words[0] for words in names] != [str(i + 1) for i in range(len(names))] or any(
            len(words) != 2 for words in names
        ):
            raise InputError(f"{file} must number the classes from 1, as '1 ApplyEyeMakeup'.")
        return [name for _, name in names]

    @override
    def find(self, training: bool) -> list[tuple[str, str]]:
        part = "train" if training else "test"
        file = self.root / self._lists_in / f"{part}list{self._split:02d}.txt"
        names = [line.split()[0] for _, line in lines_of(file)]
        for name in names:
            if "/" not in name:
                raise InputError(f"{file} lists {name[:80]!r}: it must be <class>/<file>.")
        paths = find_listed(self.root / self._videos_in, names, file, "video")
        return [(str(path), name.split("/")[0]) for path, name in zip(paths, names, strict=True)]


class Ucf101(VideoModule):
    """Loads one split of UCF101 (Soomro et al., arXiv:1212.0402); its test part is validation."""

    ranges = {
        "folder": Text("UCF-101"),
        "lists": Text("ucfTrainTestlist"),
        "split": Number(1, least=1, most=3, whole=True),
    }

    def __init__(
        self,
        *,
        root: str | None,
        folder: str,
        lists: str,
        split: int,
        **videos: Unpack[VideoSettings],
    ) -> None:
        """Keep the settings; nothing is read before `check`.

        Args:
            root: Folder of the data.
            folder: Folder in it with the class folders.
            lists: Folder in it with the lists.
            split: Number of the split, 1 to 3.
            videos: Arguments of `VideoModule`.
        """
        super().__init__(**videos)
        self._parts = (root, folder, lists, split)

    @cached_property
    @override
    def source(self) -> SplitLists:
        return SplitLists(*self._parts)
