"""Recognizes saved students, ONNX files and hub names among the values of `ckpt_path`."""

from __future__ import annotations

from pathlib import Path

from ..modules.saving.hub import is_address

ONNX = ".onnx"


def describes_itself(path: str) -> bool:
    """Return whether `path` is a file that `student.save` or export wrote, or is on the hub."""
    if is_address(path) or Path(path).suffix == ONNX:
        return True
    return Path(path).suffix == ".safetensors" and "method" in _header(path)


def _header(path: str) -> dict[str, str]:
    """Return the metadata of a `.safetensors` file; nothing for another file."""
    from safetensors import safe_open  # late, for the sake of `--help`

    try:
        with safe_open(Path(path).expanduser(), "pt") as file:
            return file.metadata() or {}
    except Exception:  # of Rust's reader; whoever reads the weights says what is wrong
        return {}
