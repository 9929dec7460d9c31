"""Counts which of timm's pretrained transformers can be sparsified: `python -m src.bench.coverage`.

Every architecture is built once, without data, and runs once in training and once at inference.
"""

from __future__ import annotations

import argparse
import logging
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from importlib.metadata import version
from pathlib import Path
from typing import cast

import timm
import torch
from torch import nn

from ..errors import InputError
from ..modules import sparsify
from ..reports.rows import Row
from ..reports.tables import write_csv, write_markdown
from ..shell.program import one_sentence_errors

# Timm's modules without attention among positions: convolutions, MLPs, state spaces, recurrence.
# All others count as transformers, including those that timm adds later.
_NAMES = """
byobnet convmixer cspnet densenet dla dpn edgenext efficientnet fasternet focalnet ghostnet
hardcorenas hgnet hrnet inception_next inception_resnet_v2 inception_v3 inception_v4 mambaout
mlp_mixer mobilenetv3 mobilenetv5 nasnet nfnet pnasnet rdnet regnet repghost res2net resnest
resnet resnetv2 rexnet selecsls senet sequencer shvit sknet starnet tresnet vgg vovnet xception
xception_aligned
"""
CONVOLUTIONAL = frozenset(_NAMES.split())
_SAMPLE = 2  # images in a batch: more than one, for norms over the batch in training


@dataclass(frozen=True)
class Architecture:
    """Records whether one of timm's architectures can be sparsified.

    Attributes:
        module: The file of `timm.models` that defines it.
        name: Timm's name without a tag.
        tags: How many pretrained weights it has.
        refusal: The message that refuses it; empty where it is accepted.
    """

    module: str
    name: str
    tags: int
    refusal: str


def transformers() -> dict[str, dict[str, int]]:
    """Return for each module the number of tags of each of its pretrained architectures.

    ConvNeXt is included, since it is walked stage by stage like Swin.
    """
    found: dict[str, dict[str, int]] = {}
    counts = Counter(tag.partition(".")[0] for tag in timm.list_models(pretrained=True))
    for name, tags in sorted(counts.items()):
        home, _, module = timm.model_entrypoint(name).__module__.rpartition(".")
        if home == "timm.models" and module not in CONVOLUTIONAL:  # this package has its own
            found.setdefault(module, {})[name] = tags
    return found


def survey(modules: dict[str, dict[str, int]]) -> Iterator[Architecture]:
    """Build each architecture without data and try it; run one of those with the same parts."""
    ran: set[object] = set()
    for module, names in modules.items():
        for name, tags in names.items():
            with torch.device("meta"):
                network = timm.create_model(name)
            yield Architecture(module, name, tags, refusal_of(network, ran))


def refusal_of(network: nn.Module, ran: set[object]) -> str:
    """Return why `network`, on the meta device, cannot be sparsified; empty where it can.

    It can if a student can be built and runs in training and at inference.

    Args:
        network: A timm network.
        ran: The kinds of networks that have run already; the kind of this one is added.
    """
    try:
        student = sparsify(network, rho=0.7)
        if (kind := _kind(network)) in ran:
            return ""
        images = torch.zeros(_SAMPLE, 3, *student.input_sides(), device="meta")
        student.train()(images)
        with torch.no_grad():
            student.eval()(images)
    except InputError as error:
        return str(error)
    ran.add(kind)
    return ""


def _kind(network: nn.Module) -> object:
    """Return what distinguishes networks that are walked differently: classes, pooling, prefix."""
    classes = frozenset(type(module) for module in network.modules())
    settings = ("global_pool", "num_prefix_tokens", "pool_include_prefix", "rope_mixed")
    return classes, *(getattr(network, name, None) for name in settings)


def rows_of(architectures: Iterable[Architecture]) -> list[Row]:
    """Return a row for each module, those with the most tags first."""
    modules: dict[str, list[Architecture]] = {}
    for each in architectures:
        modules.setdefault(each.module, []).append(each)
    rows: list[Row] = [
        {
            "module": module,
            "architectures": len(own),
            "tags": sum(each.tags for each in own),
            "accepted": sum(each.tags for each in own if not each.refusal),
            "refusals (tags)": _reasons(own),
        }
        for module, own in modules.items()
    ]
    return sorted(rows, key=lambda row: (-cast(int, row["tags"]), row["module"]))


def summary(architectures: Iterable[Architecture]) -> str:
    """Return a sentence on how many tags are accepted."""
    every = list(architectures)
    tags = sum(each.tags for each in every)
    accepted = sum(each.tags for each in every if not each.refusal)
    return (
        f"timm {version('timm')}: {accepted} of {tags} pretrained tags of transformers "
        f"({accepted / max(tags, 1):.0%}; {len(every)} architectures) can be sparsified."
    )


def _reasons(architectures: Iterable[Architecture]) -> str:
    counts: Counter[str] = Counter()
    for each in architectures:
        if each.refusal:
            counts[re.split(": (?=[a-z])", each.refusal)[0].rstrip(".")] += each.tags
    return "; ".join(f"{reason} ({tags})" for reason, tags in counts.most_common())


def main(arguments: Sequence[str] | None = None) -> None:
    """Survey timm and write coverage.md, which is printed too, and coverage.csv."""
    parser = argparse.ArgumentParser(prog="python -m src.bench.coverage", description=__doc__)
    parser.add_argument("--modules", nargs="+", help="only these files of timm.models")
    parser.add_argument("--out", type=Path, default=Path("reports/coverage"), help="folder")
    options = parser.parse_args(arguments)
    modules = transformers()
    if unknown := sorted(set(options.modules or ()) - set(modules)):
        raise InputError(
            f"--modules {unknown[0]} is not a file of timm.models with pretrained transformers: "
            f"choose from {', '.join(sorted(modules))}."
        )
    logging.disable(logging.WARNING)  # a margin is warned of at each network
    try:
        found = list(survey({name: modules[name] for name in options.modules or modules}))
    finally:
        logging.disable(logging.NOTSET)
    options.out.mkdir(parents=True, exist_ok=True)
    names = [field.name for field in fields(Architecture)]
    write_csv([asdict(each) for each in found], options.out / "coverage.csv", names)
    rows, page = rows_of(found), options.out / "coverage.md"
    write_markdown(rows, page, list(rows[0]), [summary(found)])
    print(page.read_text(encoding="utf-8"), end="")


if __name__ == "__main__":
    with one_sentence_errors():
        main()
