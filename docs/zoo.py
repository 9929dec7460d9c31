"""Write `docs/zoo.md`: the papers' models, their published numbers and our counts (`make zoo`)."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from src.config import compose_config  # noqa: E402
from src.measure.complexity import count_gmacs, count_params_m  # noqa: E402
from src.modules.student import build_student  # noqa: E402

PAGE = ROOT / "docs" / "zoo.md"
RECIPES = ROOT / "conf" / "experiment"
PUBLISHED = re.compile(
    r"# (?P<name>Dynamic\S+) on ImageNet-1k\.\n(?:#.*\n)*"
    r"# Published: (?P<acc1>[\d.]+) % top-1, (?P<acc5>[\d.]+) % top-5, (?P<gflops>[\d.]+) GFLOPs\. "
    r"Expected: (?P<gmacs>[\d.]+) GMACs, (?P<params>[\d.]+) M parameters\."
)
# Top-1 of the dense networks at 224 px, from their papers; DeiT-256 has none.
DENSE = {
    "deit_s": "79.8",
    "deit_b": "81.8",
    "lvvit_s": "83.3",
    "lvvit_m": "84.0",
    "convnext_t": "82.1",
    "convnext_s": "83.1",
    "convnext_b": "83.8",
    "swin_t": "81.3",
    "swin_s": "83.0",
    "swin_b": "83.5",
}
HEADER = """# The released models

After this page you can train any model of the papers by its recipe, and know its published and its
counted cost.

One recipe for each model that the authors of DynamicViT released: `python train.py
experiment=NAME datamodule.root=DIR`. `load_weights` reads the released checkpoints; agreement with
the released code is tested on numbers that it computed (`tests/test_agreement.py`).

Top-1 and GFLOPs as the authors publish them; these models have **not** been trained anew with this
code yet. GMACs and parameters are counted here by `make zoo`: convolutions, linear layers and
attention of one 224 px image, norms and activations free. The released code under fvcore counts
what its column says (its counter adds norms, and the published figures are cut off after a digit).

"""
COLUMNS = (
    "recipe",
    "top-1 published",
    "dense",
    "GFLOPs published",
    "fvcore",
    "GMACs",
    "dense GMACs",
    "saved",
    "M parameters",
    "dense",
)


@dataclass(frozen=True)
class Row:
    """A recipe's header."""

    recipe: str
    backbone: str
    published: dict[str, str]


def rows() -> list[Row]:
    """The recipes whose header says what was published."""
    found = []
    for path in sorted(RECIPES.glob("*_0.?.yaml")):
        match = PUBLISHED.search(path.read_text())
        assert match, f"{path}: the header lacks the published numbers"
        found.append(Row(path.stem, path.stem.rpartition("_")[0], match.groupdict()))
    return found


def line(row: Row) -> str:
    """The row in the page's table."""
    keys = ("backbone", "method", "schedule")
    parts = compose_config([f"experiment={row.recipe}"], keys)
    facts = parts["backbone"] | {"pretrained": False, "weights": None}
    with torch.device("meta"):
        student = build_student(facts, parts["method"], parts["schedule"], num_classes=1000)
    gmacs, dense = count_gmacs(student, 224), count_gmacs(student.backbone, 224)
    cells = (
        f"`{row.recipe}`",
        row.published["acc1"],
        DENSE.get(row.backbone, ""),
        row.published["gflops"],
        row.published["gmacs"],
        f"{gmacs:.2f}",
        f"{dense:.2f}",
        f"{100 * (1 - gmacs / dense):.0f} %",
        f"{count_params_m(student):.2f}",
        f"{count_params_m(student.backbone):.2f}",
    )
    return table_line(cells)


def table_line(cells: Sequence[str]) -> str:
    """Markdown."""
    return f"| {' | '.join(cells)} |\n"


if __name__ == "__main__":
    head = table_line(COLUMNS) + table_line(["---"] * len(COLUMNS))
    PAGE.write_text(HEADER + head + "".join(line(row) for row in rows()))
    print(f"Written to {PAGE}")
