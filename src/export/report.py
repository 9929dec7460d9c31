"""Measures and compares files: speed, latency, size, memory, accuracy and agreement."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import torch
from rich.progress import track
from torch import Tensor

from ..measure.processor import instruction_set
from ..measure.throughput import Speed, take_turns
from .agreement import agreement, overlaps
from .calls import outputs_of
from .files import Variant
from .graph import load

CALLS = 40  # single calls by which latency is measured
# Prints by how many MB a file raises the process's peak memory. Linux's `ru_maxrss` cannot be used:
# it starts from the peak of the process that started this one.
_MEMORY = """
import sys
import numpy, onnxruntime

def peak():
    (line,) = [line for line in open("/proc/self/status") if line.startswith("VmHWM")]
    return int(line.split()[1]) * 1024 / 1e6

path, threads, *shape = sys.argv[1], *map(int, sys.argv[2:])
images = numpy.zeros(shape, numpy.float32)
before = peak()
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = threads
session = onnxruntime.InferenceSession(path, options, ["CPUExecutionProvider"])
session.run(None, {"images": images})
print(peak() - before)
"""
Row = dict[str, Any]


def circumstances(batch: int, images: int, calibration: int | None) -> Row:
    """Return what the numbers of a report depend on.

    Args:
        batch: Images of a batch whose speed is measured, and of a call that is scored.
        images: Number of images on which accuracy is measured; 0 for none.
        calibration: Number of images on which static files are calibrated; None without any.
    """
    try:
        import onnxruntime

        runtime = f"onnxruntime {onnxruntime.__version__}"
    except ImportError:
        runtime = f"torch {torch.__version__}"
    found: Row = {
        "batch_size": batch,
        "threads": torch.get_num_threads(),
        "instructions": instruction_set(),
        "runtime": runtime,
        "images": images,
    }
    return found if calibration is None else {**found, "calibration_images": calibration}


def timed(variants: Sequence[Variant], shape: Sequence[int]) -> list[Row]:
    """Time all files in turns, on a batch of images of this shape and on one image.

    Returns:
        A row for each: images a second of a batch; `speedup` over the dense network in float and
        `speedup_same_bits` over the dense one of the same bits, both the median over turns of the
        ratio within a turn; `of_product`, the speed-up over the product of what sparsity and 8
        bits give alone; latency of one image in milliseconds, at the median and the 95th
        percentile; size of the file and peak memory in megabytes (1e6 bytes).
    """
    calls = {(v.network, v.bits): load(v.path) for v in variants}
    images = torch.randn(*shape)
    many = take_turns({_name(v): _bound(calls[v.network, v.bits], images) for v in variants})
    single = {_name(v): _bound(calls[v.network, v.bits], images[:1]) for v in variants}
    latency = take_turns(single, repeats=CALLS, seconds=0)
    speeds = {name: Speed(tuple(shape[0] / t for t in times)) for name, times in many.items()}
    base, sparse = speeds["dense fp32"], speeds["sparse fp32"]
    rows = []
    for variant in variants:
        speed, peer = speeds[_name(variant)], speeds[f"dense {variant.bits}"]
        times = [1000 * t for t in latency[_name(variant)]]
        row: Row = {
            "network": variant.network,
            "bits": variant.bits,
            "megabytes": variant.path.stat().st_size / 1e6,
            "images_per_s": speed.images_per_s,
            "speedup": speed.over(base)[0],
            "speedup_same_bits": speed.over(peer)[0],
            "latency_p50_ms": median(times),
            "latency_p95_ms": quantiles(times, n=20)[-1],
            "peak_megabytes": peak_megabytes(variant.path, shape),
        }
        if variant.network == "sparse" and variant.bits != "fp32":
            turns = zip(speed.rates, peer.rates, sparse.rates, base.rates, strict=True)
            row["of_product"] = median((a / b) / (c / d) for a, b, c, d in turns)
        rows.append(row)
    return rows


def peak_megabytes(path: Path, shape: Sequence[int]) -> float | None:
    """Return the megabytes of memory that running an ONNX file takes, in a process of its own.

    None for other files, and on systems other than Linux.
    """
    if path.suffix != ".onnx" or not sys.platform.startswith("linux"):
        return None
    words = [str(path), *map(str, (torch.get_num_threads(), *shape))]
    command = [sys.executable, "-c", _MEMORY, *words]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    return float(ended.stdout) if ended.returncode == 0 else None


def scored(variants: Sequence[Variant], data: Any, batch: int) -> tuple[list[Row], int]:
    """Score all files on the validation images of `data`, a data module, `batch` in a call.

    Clips are scored as in an evaluation, by the mean of their views (`outputs_of`).

    Returns:
        A row for each, and the number of images. `acc1` is top-1 in percent. An 8-bit file also has
        its agreement with the same network in float: `same_class`, the share of images with the
        same best class; `kl`; and `kept_overlap`, for each location the share of the patches kept
        in float that it keeps too. Where the data holds only some of the network's classes,
        `acc1_present` and `same_class_present` are the same among those.
    """
    data.setup("test")
    runs = [load(variant.watched or variant.path) for variant in variants]
    batches = track(data.test_dataloader(), description="Scoring", transient=True)
    joined, right = outputs_of(runs, batches, batch)
    rows = []
    present = None if data.present_classes is None else torch.tensor(data.present_classes)
    for variant, own in zip(variants, joined, strict=True):
        row: Row = {"acc1": 100 * float((own[0].argmax(1) == right).double().mean())}
        if present is not None:
            best = present[own[0][:, present].argmax(1)]
            row["acc1_present"] = 100 * float((best == right).double().mean())
        if variant.bits != "fp32":
            peers = zip(variants, joined, strict=True)
            names = (variant.network, "fp32")
            expected = next(each for v, each in peers if (v.network, v.bits) == names)
            agreed = agreement(expected[0], own[0])
            row |= {"same_class": agreed.same, "kl": agreed.kl}
            if present is not None:
                among = agreement(expected[0][:, present], own[0][:, present])
                row["same_class_present"] = among.same
            if variant.watched is not None:
                row["kept_overlap"] = overlaps(expected[-1], own[-1])
            row["float_layers"] = list(variant.floating)
        rows.append(row)
    return rows, len(right)


def _name(variant: Variant) -> str:
    return f"{variant.network} {variant.bits}"


def _bound(run: Callable[[Tensor], Any], images: Tensor) -> Callable[[], Any]:
    return lambda: run(images)
