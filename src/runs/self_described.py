"""Tells files that say by themselves what they are from checkpoints and bare weights."""

from __future__ import annotations

from pathlib import Path

from ..modules.saving.hub import is_address

ONNX = ".onnx"


def describes_itself(path: str) -> bool:
    """Tell whether `path` is a file that `student.save` or export wrote, or is on the hub."""
    if is_address(path) or Path(path).suffix == ONNX:
        return True
    return Path(path).suffix == ".safetensors" and "method" in _header(path)


def _header(path: str) -> dict[str, str]:
    """Return the metadata of a `.safetensors` file; nothing of a file that is none."""
    from safetensors import safe_open  # late, for the sake of `--help`

    try:
        with safe_open(Path(path).expanduser(), "pt") as file:
            return file.metadata() or {}
    except Exception:  # of Rust's reader; whoever reads the weights says what is wrong
        return {}
