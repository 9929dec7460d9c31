"""Measures the peak memory of a call."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.profiler import ProfilerActivity, profile


def peak_memory_mb(call: Callable[[], object], device: torch.device) -> float:
    """Return the megabytes (1e6 bytes) that `call` holds at most beyond what was there before it.

    On a GPU as its allocator counts, on a CPU as the profiler records allocations.
    """
    call()  # first calls allocate workspaces that stay
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        call()
        return (torch.cuda.max_memory_allocated(device) - before) / 1e6
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        call()
    held = most = 0
    assert recorded.profiler is not None
    result = recorded.profiler.kineto_results
    assert result is not None
    events = [e for e in result.events() if e.name() == "[memory]"]
    for event in sorted(events, key=lambda event: event.start_ns()):
        held += event.nbytes()
        most = max(most, held)
    return most / 1e6
