"""What a resumed training does otherwise than the one that it goes on from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from .modules.checkpoints import read_file
from .modules.resumable_state import check_complete

# Places, what is shown, what suits a machine, and how long: none of these changes a training.
_FREE = (
    "paths",
    "hydra",
    "logger",
    "ckpt_path",
    "throughput_batch",
    "callbacks.progress",
    "datamodule.num_workers",
    "trainer.max_epochs",
    "trainer.default_root_dir",
)
_ABSENT = object()


def differing_settings(path: Path, current: Mapping[str, Any]) -> list[str]:
    """Name each setting in which a training differs from the one that it resumes.

    Args:
        path: The checkpoint, with the record of its run.
        current: The configuration of now; references in it are as they were written.

    Returns:
        As `datamodule.batch_size was 32 and is 64`; nothing for a checkpoint without a record.

    Raises:
        InputError: If the checkpoint lacks what every training writes.
    """
    content = read_file(path)
    check_complete(content, path)
    record = content.get("run")
    recorded = record.get("config") if isinstance(record, Mapping) else None
    if not isinstance(recorded, Mapping):
        return []
    before, now = dict(_settings(recorded)), dict(_settings(current))
    return [
        f"{key} was {_shown(before.get(key, _ABSENT))} and is {_shown(now.get(key, _ABSENT))}"
        for key in (now | before)
        if before.get(key, _ABSENT) != now.get(key, _ABSENT)
    ]


def _settings(values: Mapping[Any, Any], parent: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        key = f"{parent}{name}"
        if key in _FREE:
            continue
        if isinstance(value, Mapping) and value:
            yield from _settings(value, f"{key}.")
        else:
            yield key, list(value) if isinstance(value, (list, tuple)) else value


def _shown(value: Any) -> str:
    if value is _ABSENT:
        return "not set"
    return "null" if value is None else str(value)[:80]
