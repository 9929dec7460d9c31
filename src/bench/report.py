"""Reports a benchmark as a table on screen, a csv, a picture and its circumstances."""

from __future__ import annotations

import json
import platform
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import TypedDict

import torch
from rich.box import SIMPLE_HEAD
from rich.table import Table

from ..config import compose_config
from ..reports.tables import print_unfolded, write_csv


class InferenceRow(TypedDict):
    """Holds the measurements of one student at one batch size, and their settings.

    Attributes:
        gmacs: GMACs of an image; `gmacs_share` is their ratio to the dense network's.
        images_per_s: Median of the turns.
        speedup: Median of the turns' ratios to the dense network; `speedup_least` and
            `speedup_most` are the extremes.
        speedup_over_timm: Over the dense network as timm runs it, which differs from `speedup`
            where both networks are compiled.
        mac_ratio: GMACs of the dense network over the student's.
        efficiency: `speedup` over `mac_ratio`.
    """

    backbone: str
    method: str
    rho: float
    image_size: int
    batch_size: int
    precision: str
    compiled: bool
    graphs: bool
    channels_last: bool
    gmacs: float
    gmacs_dense: float
    gmacs_share: float
    images_per_s: float
    images_per_s_dense: float
    latency_ms: float
    latency_ms_dense: float
    speedup: float
    speedup_least: float
    speedup_most: float
    speedup_over_timm: float
    mac_ratio: float
    efficiency: float
    memory_mb: float
    memory_mb_dense: float
    repeats: int


def environment(device: torch.device) -> dict[str, str | int | None]:
    """Return the machine and the versions that the numbers were measured with."""
    cuda = device.type == "cuda"
    return {
        "device": torch.cuda.get_device_name(device) if cuda else _processor(),
        "instructions": None if cuda else torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "system": platform.system(),
        **{name: version(name) for name in ("torch", "timm")},
        "cuda": torch.version.cuda if cuda else None,
    }


def native_size(backbone: str) -> int:
    """Return the image side in pixels that `conf/backbone` gives a network."""
    size: int = compose_config([f"backbone={backbone}"], ["backbone"])["backbone"]["image_size"]
    return size


@contextmanager
def reporting(
    rows: Sequence[Mapping[str, object]], folder: Path, shown: Sequence[str], device: torch.device
) -> Iterator[None]:
    """`write` the rows that are there at the end, also if the benchmark is stopped or fails."""
    try:
        yield
    finally:
        if rows:
            write(rows, folder, shown, device)


def write(
    rows: Sequence[Mapping[str, object]], folder: Path, shown: Sequence[str], device: torch.device
) -> None:
    """Print the columns `shown`; write `results.csv` and `environment.json` into `folder`."""
    show(rows, shown)
    write_csv([dict(row) for row in rows], folder / "results.csv", list(rows[0]))
    circumstances = json.dumps(environment(device), indent=2)
    (folder / "environment.json").write_text(circumstances + "\n")
    print(f"Written to {folder}")


def show(rows: Sequence[Mapping[str, object]], shown: Sequence[str]) -> None:
    """Print the columns `shown`."""
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for name in shown:
        table.add_column(name.replace("_", " "), overflow="fold")
    for row in rows:
        table.add_row(*(_shown(row[name]) for name in shown))
    print_unfolded(table)


def _shown(value: object) -> str:
    if not isinstance(value, float):
        return "" if value is None else str(value)
    return f"{value:.0f}" if value >= 1000 else f"{value:.3g}"


def draw_speedups(rows: Sequence[InferenceRow], path: Path) -> None:
    """Draw the speed-up over the batch size for each student; dashed, the ratio of MACs."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    FigureCanvasAgg(figure)
    panel = figure.subplots()
    for key in dict.fromkeys(map(_key, rows)):
        measured = [row for row in rows if _key(row) == key]
        batches = [row["batch_size"] for row in measured]
        backbone, method, rho = key
        label = f"{backbone} {method} rho={rho:g}"
        (line,) = panel.plot(batches, [r["speedup"] for r in measured], marker="o", label=label)
        promised = [1 / row["gmacs_share"] for row in measured]
        panel.plot(batches, promised, linestyle="--", color=line.get_color(), linewidth=0.8)
    panel.axhline(1, color="black", linewidth=0.8)
    panel.set_xscale("log", base=2)
    panel.set_xlabel("batch size")
    panel.set_ylabel("times as fast as dense (dashed: ratio of MACs)")
    panel.legend()
    figure.savefig(path, dpi=120)


def _key(row: InferenceRow) -> tuple[str, str, float]:
    return row["backbone"], row["method"], row["rho"]


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
