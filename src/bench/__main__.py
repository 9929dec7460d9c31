"""Times inference, sparse against dense: `python -m src.bench --backbone deit_s`."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import product
from pathlib import Path

import torch
from torch import nn

from ..errors import InputError
from ..measure.complexity import count_gmacs
from ..measure.memory import peak_memory_mb
from ..measure.throughput import compare_speed
from ..modules import compile_for_inference, create_student, graph_for_inference
from ..shell.program import one_sentence_errors
from .options import check_counts, check_device, check_seconds
from .report import InferenceRow, draw_speedups, native_size, reporting

SHOWN = (
    "backbone",
    "method",
    "rho",
    "batch_size",
    "gmacs",
    "latency_ms_dense",
    "latency_ms",
    "speedup",
    "speedup_over_timm",
    "mac_ratio",
    "efficiency",
    "memory_mb",
)
PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
_INPUTS = 3  # different batches, used in turn


def measure(
    backbone: str,
    *,
    rho: float,
    batch_sizes: Sequence[int],
    method: str | None = None,
    image_size: int | None = None,
    precision: str = "fp32",
    device: str = "cpu",
    compiled: bool = False,
    graphs: bool = False,
    channels_last: bool = False,
    repeats: int = 9,
    seconds: float = 0.5,
) -> Iterator[InferenceRow]:
    """Measure speed and memory of a student and of its dense network, at each batch size.

    The networks are timed in turns. Weights are random: they change neither the cost nor, at
    inference, the number of tokens that are left.

    Args:
        backbone: A name in `conf/backbone`.
        rho: Base keep ratio.
        batch_sizes: Images of a batch.
        method: A name in `conf/method`; the backbone's own by default.
        image_size: Side in pixels; the backbone's own by default.
        precision: A key of `PRECISIONS`.
        device: As PyTorch names it.
        compiled: Compile both networks.
        graphs: Replay both as CUDA graphs.
        channels_last: Use this memory format for both.
        repeats: Number of turns.
        seconds: Duration of a network's turn.

    Yields:
        A row for each batch size.
    """
    size = native_size(backbone) if image_size is None else image_size
    student = create_student(backbone, rho=rho, method=method, image_size=size).eval()
    sides = student.input_sides(size)
    gmacs, gmacs_dense = count_gmacs(student, sides), count_gmacs(student.backbone, sides)
    if channels_last and len(sides) == 3:
        raise InputError(
            f"--channels-last is a layout of images, and {backbone} takes clips: leave it out."
        )
    place, dtype = torch.device(device), PRECISIONS[precision]
    layout = torch.channels_last if channels_last else torch.contiguous_format
    student = student.to(place, dtype).to(memory_format=layout)
    networks: dict[str, nn.Module] = {"dense": student.backbone, "sparse": student}
    if compiled:
        torch.compiler.reset()  # programs of earlier networks count against a limit
        networks = {name: compile_for_inference(network) for name, network in networks.items()}
        networks["timm"] = student.backbone
    if graphs:
        networks = {name: graph_for_inference(network) for name, network in networks.items()}
    for batch_size in batch_sizes:
        shape = (batch_size, 3, *sides)
        batches = [
            torch.randn(shape, device=place, dtype=dtype).to(memory_format=layout)
            for _ in range(_INPUTS)
        ]
        speed = compare_speed(networks, batches, repeats, seconds)
        with torch.inference_mode():
            memory = {
                name: peak_memory_mb(partial(network, batches[0]), place)
                for name, network in networks.items()
            }
        speedup, least, most = speed["sparse"].over(speed["dense"])
        yield {
            "backbone": backbone,
            "method": method or student.method.name,
            "rho": rho,
            "image_size": size,
            "batch_size": batch_size,
            "precision": precision,
            "compiled": compiled,
            "graphs": graphs,
            "channels_last": channels_last,
            "gmacs": gmacs,
            "gmacs_dense": gmacs_dense,
            "gmacs_share": gmacs / gmacs_dense,
            "images_per_s": speed["sparse"].images_per_s,
            "images_per_s_dense": speed["dense"].images_per_s,
            "latency_ms": 1000 * batch_size / speed["sparse"].images_per_s,
            "latency_ms_dense": 1000 * batch_size / speed["dense"].images_per_s,
            "speedup": speedup,
            "speedup_least": least,
            "speedup_most": most,
            "speedup_over_timm": speed["sparse"].over(speed["timm" if compiled else "dense"])[0],
            "mac_ratio": gmacs_dense / gmacs,
            "efficiency": speedup * gmacs / gmacs_dense,
            "memory_mb": memory["sparse"],
            "memory_mb_dense": memory["dense"],
            "repeats": repeats,
        }


def main(arguments: Sequence[str] | None = None) -> None:
    """Time the networks; print a table and write csv, circumstances and, at the end, a picture."""
    options = _parser().parse_args(arguments)
    _check(options)
    if options.compile:
        print("Each network is compiled first, for one image and for several: minutes each.")
    shown = [name for name in SHOWN if options.compile or name != "speedup_over_timm"]
    rows: list[InferenceRow] = []
    with reporting(rows, options.out, shown, torch.device(options.device)):
        for backbone, method, rho in product(options.backbone, options.method, options.rho):
            first = len(rows)
            for row in measure(
                backbone,
                rho=rho,
                batch_sizes=sorted(set(options.batch)),
                method=method,
                image_size=options.image_size,
                precision=options.precision,
                device=options.device,
                compiled=options.compile,
                graphs=options.graphs,
                channels_last=options.channels_last,
                repeats=options.repeats,
                seconds=options.seconds,
            ):
                print(_summary(row))
                rows.append(row)
            print(_from_which_batch(rows[first:]))
    draw_speedups(rows, options.out / "speedups.png")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="tokenthrift bench",
        description="Time inference of the dense and the sparse network in turns; print medians. "
        "efficiency is the speed-up over the ratio of MACs: 1 where time falls as MACs do.",
    )
    parser.add_argument("--backbone", nargs="+", default=["deit_s"], help="names in conf/backbone")
    parser.add_argument(
        "--method",
        nargs="+",
        default=[None],
        help="names in conf/method; the backbone's own by default",
    )
    parser.add_argument(
        "--rho", type=float, nargs="+", default=[0.9, 0.7, 0.5], help="base keep ratios"
    )
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 8, 32], help="batch sizes")
    parser.add_argument(
        "--image-size", type=int, help="side in pixels; the backbone's own if not given"
    )
    parser.add_argument("--precision", choices=PRECISIONS, default="fp32")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument(
        "--compile", action="store_true", help="torch.compile both, which takes minutes"
    )
    parser.add_argument(
        "--graphs", action="store_true", help="replay both as CUDA graphs: one launch a batch"
    )
    parser.add_argument("--channels-last", action="store_true", help="memory format of both")
    parser.add_argument("--repeats", type=int, default=9, help="turns")
    parser.add_argument("--seconds", type=float, default=0.5, help="duration of a network's turn")
    parser.add_argument("--out", type=Path, default=Path("reports/bench"), help="folder")
    return parser


def _summary(row: InferenceRow) -> str:
    summary = (
        "{backbone} {method} rho={rho:g} batch {batch_size}: {speedup:.2f} times dense".format_map(
            row
        )
    )
    if row["compiled"]:
        summary += f", {row['speedup_over_timm']:.2f} times timm's network as it is"
    return summary


def _from_which_batch(measured: Sequence[InferenceRow]) -> str:
    wins = [row["batch_size"] for row in measured if row["speedup"] > 1]
    tried = ", ".join(str(row["batch_size"]) for row in measured)
    first = f"wins from batch {wins[0]}" if wins else "does not win"
    one = measured[0]
    return f"{one['backbone']} {one['method']} rho={one['rho']:g}: sparse {first} (tried: {tried})"


def _check(options: argparse.Namespace) -> None:
    check_counts("batch", options.batch)
    check_counts("repeats", [options.repeats])
    check_seconds(options.seconds)
    check_device(options.device)
    if options.graphs and not options.device.startswith("cuda"):
        raise InputError(f"--graphs needs a GPU, and --device is {options.device}: leave it out.")


def run() -> None:
    """Run `main` for a command line: bad input ends it with one sentence."""
    with one_sentence_errors():
        main()


if __name__ == "__main__":
    run()
