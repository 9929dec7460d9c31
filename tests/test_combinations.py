"""What every method does on every family that it fits: `conf/method` is read, not listed here."""

from __future__ import annotations

import importlib
import pkgutil
from collections import Counter
from itertools import product
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
import torch
import wandb
from hydra.utils import get_class

from src.callbacks.position_map import PositionMap
from src.datamodules.normalization import Normalization
from src.modules import methods
from src.modules.backbones import SparseOutput
from src.modules.backbones.sequence import SequenceBackbone
from src.modules.backbones.windowed import WindowedBackbone
from src.modules.methods.base import SpatialRouting, TokenReduction
from src.modules.schedules import KeepSchedule
from src.pictures import draw_token_maps
from src.pictures.masks import masked_images
from src.pictures.survivors import survivor_maps
from src.pictures.tokens import _FADE, _GAP, _HEADER, _LINE, _TILE, grid
from tests.combinations import CASES, METHODS, NETWORKS, make_student, shaken, students_of

DECIDING = [case for case in CASES if case[1] != "dense"]
DRAWING = [
    module
    for found in pkgutil.walk_packages(methods.__path__, f"{methods.__name__}.")
    if hasattr(module := importlib.import_module(found.name), "gumbel_keep")
]
PLAIN = [case for case in CASES if isinstance(students_of(case[0])["dense"], SequenceBackbone)]
AS_IS = Normalization((0.0,) * 3, (1.0,) * 3)  # of images that are shown as they are


@pytest.mark.parametrize("name", NETWORKS)
def test_every_method_of_a_kind_fits(name: str) -> None:
    """But for those of clips and of windows."""
    student = students_of(name)["dense"]
    kind = TokenReduction if isinstance(student, SequenceBackbone) else SpatialRouting
    classes = {method: get_class(node["_target_"]) for method, node in METHODS.items()}
    own = {method for method, made in classes.items() if issubclass(made, kind)}
    own -= {method for method in own if getattr(classes[method], "needs_clips", False)}
    if not isinstance(student, WindowedBackbone):
        own -= {method for method in own if getattr(classes[method], "needs_windows", False)}
    assert set(students_of(name)) == own
    assert len(own) >= 3


@pytest.mark.parametrize(("name", "method"), DECIDING)
@torch.no_grad()
def test_training_computes_what_inference_computes(
    name: str, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exactly; those that draw masks in training under the same decisions, but for rounding."""
    student = shaken(make_student(name, method))
    images = torch.randn(2, 3, 64, 64)
    torch.manual_seed(3)
    inference = student.with_maps(images)
    drawn: list[torch.Tensor] = []

    def draw(scores: torch.Tensor) -> torch.Tensor:
        drawn.append(inference.decisions[len(drawn)])
        return drawn[-1]

    for module in DRAWING:
        monkeypatch.setattr(module, "gumbel_keep", draw)
    student.method.train()  # alone: dropout and stochastic depth stay off
    torch.manual_seed(3)
    training = student.with_maps(images)
    assert all(map(torch.equal, training.decisions, inference.decisions))
    assert all(map(torch.equal, training.counts, inference.counts))
    locations = len(student.method.schedule.locations)
    assert len(training.decisions) == len(inference.decisions) == locations > 1
    close = {"atol": 1e-5, "rtol": 1e-5} if drawn else {"atol": 1e-6, "rtol": 0.0}
    torch.testing.assert_close(training.logits, inference.logits, **close)
    torch.testing.assert_close(training.maps, inference.maps, **close)
    if not drawn:
        torch.testing.assert_close(training.features, inference.features, **close)
        for one, other in zip(training.steps, inference.steps, strict=True):
            torch.testing.assert_close(one.source, other.source)
        assert torch.equal(training.size, inference.size)
    learns = student.method.learns_by_summaries
    assert len(training.summaries) == (locations if learns else 0)


@pytest.mark.parametrize(("name", "method"), PLAIN)
@torch.no_grad()
def test_maps_show_each_patch_the_token_that_stands_for_it(name: str, method: str) -> None:
    student = shaken(make_student(name, method))
    output = student.with_maps(torch.randn(2, 3, 64, 64))
    seen = output.maps[0].flatten(2).transpose(1, 2)
    assert seen.isfinite().all()
    if output.source is None:
        torch.testing.assert_close(seen, output.features)
        return
    there = output.decisions[-1] > 0
    index = output.source.clamp(min=0).unsqueeze(-1).expand_as(seen)
    torch.testing.assert_close(seen[there], output.features.gather(1, index)[there])


def expected_shares(output: SparseOutput, number: int) -> list[list[float]]:
    """For each image and patch one over the patches that have the same token, 0 without one."""
    source = output.steps[number].source
    if source is None:
        return output.decisions[number].tolist()
    shares = []
    for tokens, kept in zip(source.tolist(), output.decisions[number].tolist(), strict=True):
        alive = [token if keep else None for token, keep in zip(tokens, kept, strict=True)]
        together = Counter(alive)
        shares.append([0.0 if token is None else 1 / together[token] for token in alive])
    return shares


@pytest.mark.parametrize(("name", "method"), DECIDING)
@torch.no_grad()
def test_pictures_and_callbacks_show_what_became_of_each_patch(
    name: str, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    student = shaken(make_student(name, method))
    colors = torch.rand(2, 3, 4, 4)
    images = colors.repeat_interleave(16, dim=2).repeat_interleave(16, dim=3)
    torch.manual_seed(3)
    output = student(images)
    torch.manual_seed(3)
    maps = survivor_maps(student, images, AS_IS)
    locations = student.method.schedule.locations
    picture = draw_token_maps(images, output, AS_IS)
    monkeypatch.setattr(wandb, "Image", lambda pixels, masks: masks)
    masks: Any = masked_images(images, output, AS_IS)
    positions = PositionMap("positions.png")
    positions.on_test_start(Mock(), Mock())
    batch = images, torch.tensor([0, 1])
    positions.on_test_batch_end(Mock(), Mock(), {"output": output}, batch, 0)
    for number, location in enumerate(locations):
        expected = torch.tensor(expected_shares(output, number))  # (B, patches)
        torch.testing.assert_close(output.steps[number].shares(), expected)
        torch.testing.assert_close(positions.mean()[number].flatten(), expected.double().mean(0))
        torch.testing.assert_close(16 * output.kept_shares()[number], output.counts[number])
        source = output.steps[number].source
        if maps["sources"] is not None:
            assert maps["sources"][number] == (None if source is None else source.tolist())
        for image, patch in product(range(2), range(16)):
            share, own = expected[image, patch], colors[image].flatten(1)  # (3, patches)
            color, label = own[:, patch], 1
            if share == 0:
                color, label = _FADE * color + 1 - _FADE, 0
            elif share < 1:
                color, label = own[:, source[image] == source[image, patch]].mean(1), 2
            row, column = divmod(patch, 4)
            assert masks[image][f"block {location}"]["mask_data"][16 * row, 16 * column] == label
            x = _GAP + (1 + number) * (_TILE + _GAP) + 40 * column
            y = _HEADER + _GAP + image * (_TILE + _GAP) + 40 * row
            shown = torch.tensor(picture.getpixel((x, y))) / 255
            assert (shown - color).abs().max() < 0.01


@torch.no_grad()
def test_a_location_that_keeps_all_has_no_groups_in_a_report() -> None:
    student = shaken(make_student("vit", "query_absorb"))
    student.method.schedule = KeepSchedule(student.method.schedule.locations, (1.0, 0.5, 0.25))
    groups = survivor_maps(student, torch.randn(2, 3, 64, 64), AS_IS)["sources"]
    assert [group and len(set(group[0])) for group in groups] == [None, 8, 4]


def test_long_titles_stay_above_their_own_column() -> None:
    columns = [torch.zeros(1, 3, 80, 80)] * 2
    names = "blue LearnedQuery with Absorb, orange ClassTokenAttention with Absorb"
    drawn = np.asarray(grid(columns, [names, ""]).convert("L"))
    header = len(drawn) - _TILE - 2 * _GAP
    assert header == _HEADER + 2 * _LINE
    written = (drawn[:header] < 128).any(axis=0)
    assert written[:_TILE].any()
    assert not written[_GAP + _TILE :].any()
