"""Tells what the processor offers to products of 8-bit numbers."""

from __future__ import annotations

import platform
from pathlib import Path

_CPUINFO = Path("/proc/cpuinfo")
# From the fastest on; the first that the processor has is named.
_INSTRUCTIONS = ("amx_int8", "avx512_vnni", "avx_vnni", "i8mm", "asimddp", "avx512bw", "avx2")
_WITH_DOT_PRODUCT = ("amx_int8", "avx512_vnni", "avx_vnni", "i8mm", "asimddp")


def instruction_set(cpuinfo: Path = _CPUINFO) -> str:
    """Return the name of the best 8-bit instructions, as `avx512_vnni`.

    Args:
        cpuinfo: Linux's list of flags; without it the architecture is returned, as `arm64`.
    """
    if not cpuinfo.is_file():
        return platform.machine().lower()
    flags = set(cpuinfo.read_text("utf-8", "replace").split())
    best = next((name for name in _INSTRUCTIONS if name in flags), None)
    return best or platform.machine().lower()


def saturates(instructions: str) -> bool:
    """Tell whether sums of two 8-bit products can overflow: on x86 without VNNI.

    There `pmaddubsw` adds two products in 16 bits, and weights in 7 bits are safe.
    """
    arm = instructions.startswith(("arm", "aarch"))
    return not arm and instructions not in _WITH_DOT_PRODUCT
