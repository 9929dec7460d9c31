"""Loads Something-Something v2: numbered videos in one folder, labels in json."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

from typing_extensions import Unpack, override

from ..errors import InputError
from ..ranges import Text
from .clip_files import ClipFiles
from .fields import TEXT, check_fields, read_json, shown
from .listing import find_listed
from .videos import VideoModule, VideoSettings

_FIELDS = {"id": TEXT, "template": TEXT}
_FORM = "Something-Something's format"


class NumberedVideos(ClipFiles):
    """Reads the list of videos, and the template of each, which is its class."""

    def __init__(
        self, root: str | None, folder: str, train_json: str, val_json: str, labels_json: str
    ) -> None:
        """Keep the names of the videos' folder and of the files."""
        super().__init__(root)
        self._folder = folder
        self._files = {True: train_json, False: val_json}
        self._labels = labels_json

    @override
    def declared_classes(self) -> list[str]:
        file = self.root / self._labels
        labels = read_json(file)
        if not isinstance(labels, dict) or sorted(map(str, labels.values())) != sorted(
            map(str, range(len(labels)))
        ):
            raise InputError(f"{file} must number the templates from 0, as {{'Moving up': '0'}}.")
        return sorted(labels, key=lambda name: int(str(labels[name])))

    @override
    def find(self, training: bool) -> list[tuple[str, str]]:
        file = self.root / self._files[training]
        listed = read_json(file)
        if not isinstance(listed, list):
            raise InputError(f"{file} is {shown(listed)}: {_FORM} has a list of videos there.")
        videos = [
            check_fields(one, _FIELDS, f"video {number} of {file}", _FORM)
            for number, one in enumerate(listed)
        ]
        names = [f"{video['id']}.webm" for video in videos]
        paths: list[Path] = find_listed(self.root / self._folder, names, file, "video")
        return [
            (str(path), video["template"].replace("[", "").replace("]", ""))
            for path, video in zip(paths, videos, strict=True)
        ]


class Something(VideoModule):
    """Loads Something-Something v2 (Goyal et al., arXiv:1706.04261)."""

    ranges = {
        "folder": Text("20bn-something-something-v2"),
        "train_json": Text("labels/train.json"),
        "val_json": Text("labels/validation.json"),
        "labels_json": Text("labels/labels.json"),
    }

    def __init__(
        self,
        *,
        root: str | None,
        folder: str,
        train_json: str,
        val_json: str,
        labels_json: str,
        **videos: Unpack[VideoSettings],
    ) -> None:
        """Keep the settings; nothing is read before `check`.

        Args:
            root: Folder of the data.
            folder: Folder in it with the videos.
            train_json: The training part's file, relative to the root.
            val_json: The validation part's file, relative to the root.
            labels_json: The file that numbers the classes.
            videos: Arguments of `VideoModule`.
        """
        super().__init__(**videos)
        self._parts = (root, folder, train_json, val_json, labels_json)

    @cached_property
    @override
    def source(self) -> NumberedVideos:
        return NumberedVideos(*self._parts)
