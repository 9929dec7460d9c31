"""Plans a training's memory and communication: `python -m src.bench.plan backbone=deit_b`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from itertools import groupby

from rich.box import SIMPLE_HEAD
from rich.table import Table

from ..errors import InputError
from ..reports.tables import print_unfolded
from ..shell.program import one_sentence_errors
from .step_cost import Block, Plan, plan


def main(arguments: Sequence[str] | None = None) -> None:
    """Print what the dense network's training and the student's cost, and on how many devices."""
    parser = argparse.ArgumentParser(
        prog="python -m src.bench.plan",
        description="Calculate memory, communication and multiply-accumulates of a training step "
        "from the network's structure, without running it. dense: the timm network with "
        "cross-entropy; sparse: the student with its teacher and losses.",
    )
    parser.add_argument(
        "settings",
        nargs="*",
        help="as of train.py: backbone=deit_b rho=0.7 datamodule.batch_size=128 "
        "trainer.precision=bf16-mixed",
    )
    parser.add_argument(
        "--processes", type=int, nargs="+", default=[1, 8], help="numbers of devices"
    )
    options = parser.parse_args(arguments)
    for number in options.processes:
        if number < 1:
            raise InputError(
                f"--processes {number} is not a number of processes: give whole numbers from 1."
            )
    plans = {
        "dense": plan(options.settings, dense=True),
        "sparse": plan(options.settings),
    }
    print_unfolded(_one_device(plans), _devices(plans, options.processes))
    for name, planned in plans.items():
        for line in _block_lines(planned.blocks):
            print(f"{name}: {line}")


def _one_device(plans: dict[str, Plan]) -> Table:
    table = _table("one device, GB", *plans)
    rows = {
        "weights": lambda p: _gb(p.weights),
        "teacher's weights": lambda p: _gb(p.teacher),
        "optimizer state": lambda p: _gb(p.optimizer),
        "gradients": lambda p: _gb(p.gradients),
        "activations": lambda p: _gb(p.activations),
        "at most at once": lambda p: _gb(p.alone()),
        "TMACs a step": lambda p: f"{p.tmacs:.3g}",
        "TMACs over dense": lambda p: f"{p.tmacs / plans['dense'].tmacs:.2f}",
    }
    for name, shown in rows.items():
        table.add_row(name, *(shown(planned) for planned in plans.values()))
    return table


def _devices(plans: dict[str, Plan], processes: Sequence[int]) -> Table:
    columns = ("ddp holds", "sends a step", "fsdp holds", "sends a step")
    table = _table("each of N devices, GB", "N", *columns)
    for name, planned in plans.items():
        for number in processes:
            table.add_row(
                name,
                str(number),
                _gb(planned.replicated(number)),
                _gb(planned.all_reduced(number)),
                _gb(planned.sharded(number)),
                _gb(planned.gathered(number)),
            )
    return table


def _table(*columns: str) -> Table:
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _gb(size: int) -> str:
    return f"{size / 1e9:.3g}"


def _block_lines(blocks: Sequence[Block]) -> list[str]:
    """Say what each block keeps, those of as many tokens in one line."""
    lines = []
    numbered = groupby(enumerate(blocks), key=lambda pair: pair[1].tokens)
    for tokens, group in numbered:
        numbers, alike = zip(*group, strict=True)
        mean = sum(block.kept for block in alike) / len(alike)
        lines.append(
            f"blocks {numbers[0]}-{numbers[-1]} see {tokens} tokens and keep "
            f"{mean / 1e6:.0f} MB each"
        )
    return lines


if __name__ == "__main__":
    with one_sentence_errors():
        main()
