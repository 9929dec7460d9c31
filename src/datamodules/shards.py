"""Packs labelled photographs into shards, with a list of their sizes and classes."""

from __future__ import annotations

import argparse
import json
import os
import random
import tarfile
from collections.abc import Sequence
from contextlib import suppress
from io import BytesIO
from pathlib import Path

from rich.progress import Progress

from ..errors import InputError
from ..files import atomic_file, digest
from .decoding import check_regular
from .folders import ImageFolders
from .shard_lists import LISTS
from .shard_samples import samples_of

SPLITS = ("train", "validation")


def write_shards(folder: Path, out: Path, *, images: int = 1000, seed: int = 0) -> None:
    """Pack photographs in ImageNet's layout into tar files in webdataset's.

    Photographs are copied unchanged, in a random order, with their label as `.cls`. Shards that an
    earlier call with the same photographs and settings has finished are kept. A shard appears once
    it is complete, and the list (`_info.json`) once all shards are.

    Args:
        folder: Holds `train/<class>/*` and `val/<class>/*` (or `validation`).
        out: Folder for the shards, which is made.
        images: Most photographs of a shard.
        seed: Seed of the order.

    Raises:
        InputError: If the photographs cannot be read, or `images` is below 1.
    """
    if images < 1:
        raise InputError(f"--images {images} is not possible: a shard has at least one photograph.")
    source = ImageFolders(str(folder), *SPLITS)
    source.check(training=True)
    splits = {}
    with Progress() as progress:
        for split in SPLITS:
            samples = source.files(training=split == "train").samples
            order = list(range(len(samples)))
            random.Random(seed).shuffle(order)
            parts = [order[start : start + images] for start in range(0, len(order), images)]
            names = [f"{split}-{number:06}.tar" for number in range(len(parts))]
            task = progress.add_task(split, total=len(order))
            for name, part in zip(names, parts, strict=True):
                chosen = {_key(number, samples[number][0]): samples[number] for number in part}
                if not _is_complete(out / name, list(chosen)):
                    _pack(out / name, chosen)
                progress.advance(task, len(part))
            splits[split] = {
                "name": split,
                "num_samples": len(order),
                "filenames": names,
                "shard_lengths": [len(part) for part in parts],
            }
    with atomic_file(out / LISTS[0]) as partial:
        partial.write_text(json.dumps({"splits": splits, "class_names": source.class_names}))


def _key(number: int, path: str) -> str:
    """Return a sample's name, which changes with the file's path, size and time."""
    status = os.stat(path)
    return f"{number:08}-{digest(f'{path} {status.st_size} {status.st_mtime_ns}')}"


def _is_complete(file: Path, keys: Sequence[str]) -> bool:
    with suppress(InputError):
        names = [sample.name for sample in samples_of(file)] if file.exists() else []
        return bool(names) and names == [f"{file}: {key}" for key in keys]
    return False


def _pack(file: Path, samples: dict[str, tuple[str, int]]) -> None:
    with atomic_file(file) as partial, tarfile.open(partial, "w") as shard:
        for key, (path, label) in samples.items():
            check_regular(path)
            image = tarfile.TarInfo(f"{key}{Path(path).suffix.lower()}")
            image.size = os.stat(path).st_size
            with open(path, "rb") as content:
                shard.addfile(image, content)
            text = str(label).encode()
            member = tarfile.TarInfo(f"{key}.cls")
            member.size = len(text)
            shard.addfile(member, BytesIO(text))


def main(arguments: Sequence[str] | None = None) -> None:
    """Pack the photographs that the command line names."""
    parser = argparse.ArgumentParser(
        prog="python -m src.datamodules.shards",
        description="Pack photographs in ImageNet's layout (train/<class>/*, val/<class>/*) into "
        "tar files of webdataset's layout, with a list of their sizes and classes; the same "
        "command goes on where it was stopped.",
        epilog="Train on them: train.py datamodule=imagenet datamodule.dataset=wds/any "
        "datamodule.root=OUT, or root=s3://bucket/folder after a copy.",
    )
    parser.add_argument("folder", type=Path, metavar="DIR", help="of the photographs")
    parser.add_argument("out", type=Path, metavar="OUT", help="folder of the shards")
    parser.add_argument("--images", type=int, default=1000, help="of a shard (default: 1000)")
    parser.add_argument("--seed", type=int, default=0, help="of their order (default: 0)")
    chosen = parser.parse_args(arguments)
    write_shards(chosen.folder, chosen.out, images=chosen.images, seed=chosen.seed)


if __name__ == "__main__":
    from ..shell.program import one_sentence_errors

    with one_sentence_errors():
        main()
