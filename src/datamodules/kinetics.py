"""Loads videos from class folders, such as those of Kinetics: `root/{train,val}/<class>/*.mp4`."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

from typing_extensions import Unpack, override

from ..errors import InputError, some
from ..ranges import Text
from .clip_files import ClipFiles
from .video_frames import SUFFIXES
from .videos import VideoModule, VideoSettings
from .walking import class_folders, is_left_by_systems, natural_key

log = logging.getLogger(__name__)


class ClassFolders(ClipFiles):
    """Finds videos at any depth below class folders."""

    def __init__(self, root: str | None, train_split: str, val_split: str) -> None:
        """Keep the names of the two parts' folders."""
        super().__init__(root)
        self._splits = {True: train_split, False: val_split}

    @override
    def declared_classes(self) -> list[str]:
        return class_folders(self._folder(training=False), "videos")

    @override
    def find(self, training: bool) -> list[tuple[str, str]]:
        folder = self._folder(training)
        names = class_folders(folder, "videos")
        found = [(path, name) for name in names for path in _videos_below(folder / name)]
        empty = sorted(set(names) - {name for _, name in found})
        if empty:
            raise InputError(
                f"{folder} has class folders without videos ({' '.join(SUFFIXES)}): {some(empty)}."
            )
        return sorted(found, key=lambda sample: natural_key(sample[0]))

    def _folder(self, training: bool) -> Path:
        folder = self.root / self._splits[training]
        if not folder.is_dir():
            raise InputError(
                f"datamodule.root={self.root} has no folder '{self._splits[training]}': it should "
                "hold train/<class>/* and val/<class>/*."
            )
        return folder


def _videos_below(folder: Path) -> Iterator[str]:
    others = []
    for path, folders, files in os.walk(folder, followlinks=True):
        folders[:] = [name for name in folders if not is_left_by_systems(name)]
        for name in files:
            if not name.startswith("."):
                video = os.path.splitext(name)[1].lower() in SUFFIXES
                if video:
                    yield os.path.join(path, name)
                else:
                    others.append(name)
    if others:
        log.warning(
            f"{len(others)} files of {folder} do not have a video's suffix and are left out, as "
            f"{some(sorted(others))}: videos end in {' '.join(SUFFIXES)}."
        )


class Kinetics(VideoModule):
    """Loads Kinetics, or any videos in class folders."""

    ranges = {"train_split": Text("train"), "val_split": Text("val")}

    def __init__(
        self,
        *,
        root: str | None,
        train_split: str,
        val_split: str,
        **videos: Unpack[VideoSettings],
    ) -> None:
        """Keep the settings; nothing is read before `check`.

        Args:
            root: Folder of the data.
            train_split: Name of the training part's folder.
            val_split: Name of the validation part's folder.
            videos: Arguments of `VideoModule`.
        """
        super().__init__(**videos)
        self._parts = (root, train_split, val_split)

    @cached_property
    @override
    def source(self) -> ClassFolders:
        return ClassFolders(*self._parts)
