"""What every family of plain transformers must do; a test class names its networks in `cases`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import pytest
import timm
import torch
from packaging.version import Version
from torch import Tensor, nn

from src.errors import InputError
from src.modules import sparsify
from src.modules.backbones import SparseBackbone, family_of
from src.modules.methods import asymmetric
from src.modules.methods.selectors import predictor
from tests.combinations import METHODS, beside

# Timm's name, or a class where timm lets nobody change the size of those with a name.
Case = tuple[str | Callable[..., nn.Module], dict[str, Any]]


def make_network(case: Case) -> nn.Module:
    """Untrained networks hardly mix tokens: shake all parameters so that differences show."""
    name, options = case
    torch.manual_seed(0)
    if isinstance(name, str):
        network = timm.create_model(name, **options)
    else:
        network = name(**options)
        network.pretrained_cfg = {"input_size": (3, 64, 64)}
    for parameter in network.parameters():
        parameter.data += 0.05 * torch.randn_like(parameter)
    return network.eval()


def timm_is_older_than(release: str) -> bool:
    return Version(timm.__version__) < Version(release)


def make_images(student: SparseBackbone, batch: int = 2) -> Tensor:
    return torch.randn(batch, 3, *student.input_sides())


def assert_near(found: Tensor, expected: Tensor, atol: float = 1e-5) -> None:
    """Compare relative to the largest number."""
    scale = expected.abs().max()
    torch.testing.assert_close(found / scale, expected / scale, atol=atol, rtol=0)


def without_gradient(network: nn.Module, rounding: float = 0.0) -> set[str]:
    """Return the parameters whose gradient is at most `rounding` of the network's largest entry."""
    largest = {
        name: 0.0 if parameter.grad is None else parameter.grad.abs().max().item()
        for name, parameter in network.named_parameters()
    }
    return {name for name, entry in largest.items() if entry <= rounding * max(largest.values())}


class Family:
    """Checks of all families; `cases` are networks by name, with timm's options."""

    cases: ClassVar[dict[str, Case]]
    drawn_in: ClassVar[Any]

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        if "case" in metafunc.fixturenames:
            metafunc.parametrize("case", self.cases.values(), ids=list(self.cases))

    @torch.no_grad()
    def test_dense_it_is_timm(self, case: Case) -> None:
        dense = sparsify(make_network(case), method="dense").eval()
        images = make_images(dense)
        assert_near(dense(images).logits, dense.backbone(images), 1e-6)

    @torch.no_grad()
    def test_keeping_everything_is_timm(self, case: Case) -> None:
        student = sparsify(make_network(case), ratios=[1.0, 1.0, 1.0]).eval()
        images = make_images(student)
        assert_near(student(images).logits, student.backbone(images))

    def test_training_computes_what_inference_computes(
        self, case: Case, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        student = sparsify(make_network(case), rho=0.6).eval()
        for parameter in student.method.parameters():
            parameter.data += 0.1 * torch.randn_like(parameter)
        images = make_images(student, 3)
        with torch.no_grad():
            inference = student(images)
        assert not torch.allclose(inference.logits, student.backbone(images), atol=1e-3)
        decided = iter(inference.decisions)
        monkeypatch.setattr(self.drawn_in, "gumbel_keep", lambda scores: next(decided))
        student.method.train()  # alone: dropout and stochastic depth stay off
        training = student(images)
        assert_near(training.logits, inference.logits)
        for mask, kept in zip(training.decisions, inference.decisions, strict=True):
            assert torch.equal(mask, kept)

    def test_every_parameter_gets_a_gradient(self, case: Case) -> None:
        """But for those that have none in timm's own network, or rounding errors alone.

        A bias that all keys share cancels in the softmax.
        """
        student = sparsify(make_network(case), rho=0.7).train()
        images = make_images(student)
        student.backbone(images).square().sum().backward()
        unused = {f"backbone.{name}" for name in without_gradient(student.backbone, 1e-6)}
        student.zero_grad()
        output = student(images)
        (output.logits.square().sum() + sum(d.sum() for d in output.decisions)).backward()
        assert without_gradient(student) <= unused
        assert all(torch.isfinite(p.grad).all() for p in student.parameters() if p.grad is not None)

    def test_methods_run_or_are_refused_at_once(self, case: Case) -> None:
        ran = set()
        network = make_network(case)
        for name in METHODS:
            try:
                student = beside(network, name)
            except InputError:
                continue
            images = make_images(student)
            student.train()(images).logits.sum().backward()
            with torch.no_grad():
                assert student.eval()(images).logits.isfinite().all(), name
            ran.add(name)
        assert {"dense", family_of(network).natural_method} <= ran


class SequenceFamily(Family):
    """Checks of families whose tokens are removed."""

    drawn_in = predictor

    @torch.no_grad()
    def test_bf16_runs(self, case: Case) -> None:
        student = sparsify(make_network(case).bfloat16(), rho=0.6).eval()
        images = make_images(student).bfloat16()
        try:
            student.backbone(images)
        except RuntimeError as error:
            pytest.skip(f"timm {timm.__version__} itself cannot run it in bf16: {error}")
        assert student(images).logits.dtype == torch.bfloat16


class SpatialFamily(Family):
    """Checks of families whose positions take two paths."""

    drawn_in = asymmetric

    @torch.no_grad()
    def test_maps_are_those_of_the_stages(self, case: Case) -> None:
        student = sparsify(make_network(case), method="dense").eval()
        maps = student.with_maps(make_images(student)).maps
        assert [each.shape[1] for each in maps] == [level.channels for level in student.levels()]
        height = student.image_size[0]
        assert [height // each.shape[-2] for each in maps] == [
            level.stride for level in student.levels()
        ]
