"""Every selector with every disposal, found by their files."""

import importlib
import inspect
import pkgutil
from itertools import product

import pytest
import timm
import torch
from torch.nn import functional as F

from src.errors import InputError
from src.modules.auxiliary import AuxiliaryClassification, AuxiliaryDistillation
from src.modules.backbones import family_of
from src.modules.layers.tokens import Tokens
from src.modules.losses import TeacherOutput
from src.modules.methods import disposals, selectors
from src.modules.methods.disposals.absorb import Absorb
from src.modules.methods.disposals.base import Disposal, Ranking
from src.modules.methods.selection import Selection
from src.modules.methods.selectors.base import Selector
from src.modules.methods.selectors.query import LearnedQuery
from src.modules.schedules import geometric
from tests.combinations import make_network, shaken
from tests.combinations import make_student as make_small

PATCHES = 49


def leaves(package, base: type) -> list[type]:
    modules = [
        importlib.import_module(f"{package.__name__}.{found.name}")
        for found in pkgutil.iter_modules(package.__path__)
    ]
    classes = {
        kind for module in modules for _, kind in inspect.getmembers(module, inspect.isclass)
    }
    return sorted(
        (kind for kind in classes if issubclass(kind, base) and not inspect.isabstract(kind)),
        key=lambda kind: kind.__name__,
    )


PAIRS = list(product(leaves(selectors, Selector), leaves(disposals, Disposal)))
IDS = [f"{selector.__name__}-{disposal.__name__}" for selector, disposal in PAIRS]


@pytest.fixture
def network():
    options = {"embed_dim": 64, "num_heads": 4, "depth": 6, "img_size": 112, "num_classes": 7}
    network = timm.create_model("deit_tiny_patch16_224", **options)
    for parameter in network.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    return network.eval()


def make_student(network, selector, disposal, rho=0.7):
    family = family_of(network)
    geometry = family.geometry(network)
    locations = family.natural_locations(geometry.depth, 3)
    method = Selection(geometric(rho, locations), geometry, selector, disposal())
    return family(network, method).eval()


def test_all_are_found():
    assert len(PAIRS) >= 9
    assert (LearnedQuery, Absorb) in PAIRS


@pytest.mark.parametrize(
    ("method", "name"),
    [("query_absorb", "LearnedQuery with Absorb"), ("evit", "EViT"), ("tome", "ToMe")],
)
def test_a_name_says_what_a_method_is_made_of(method, name):
    assert make_small("vit", method).method.name == name


def test_a_refusal_names_the_parts():
    with pytest.raises(InputError, match="merged by LearnedQuery with Absorb: choose"):
        make_small("eva", "query_absorb")


@pytest.mark.parametrize("name", ["vit", "eva", "lvvit"])
@pytest.mark.parametrize(("selector", "disposal"), PAIRS, ids=IDS)
def test_training_computes_what_inference_computes(name, selector, disposal):
    network = make_network(name).eval()
    if disposal.merges and not family_of(network).geometry(network).mergeable:
        with pytest.raises(InputError, match=f"{selector.__name__} with {disposal.__name__}"):
            make_student(network, selector, disposal)
        return
    student = shaken(make_student(network, selector, disposal))
    images = torch.randn(2, 3, 64, 64)
    torch.manual_seed(3)
    with torch.no_grad():
        inference = student(images)
    student.method.train()  # alone: LV-ViT gives other logits in training
    torch.manual_seed(3)
    training = student(images)
    torch.testing.assert_close(training.logits, inference.logits, atol=1e-6, rtol=0)
    assert len(training.decisions) == 3
    for kind in ("decisions", "counts", "sources"):
        assert all(map(torch.equal, getattr(training, kind), getattr(inference, kind)))
    training.logits.square().sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in student.parameters())


@pytest.mark.parametrize(("selector", "disposal"), PAIRS, ids=IDS)
@torch.no_grad()
def test_at_a_ratio_of_one_it_is_dense(network, selector, disposal):
    images = torch.randn(2, 3, 112, 112)
    output = make_student(network, selector, disposal, rho=1.0)(images)
    torch.testing.assert_close(output.logits, network(images), atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_absorbing_is_a_mean_weighted_by_size():
    x, size = torch.randn(2, 1 + 6, 8), torch.tensor([[1.0, 1, 2, 1, 3, 1, 1]] * 2)
    tokens = Tokens(x, prefix=1, size=size)
    score = torch.randn(2, 6)
    ranking = Ranking(score.argsort(dim=1, descending=True), 3, score)
    after = Absorb()(tokens, ranking, None)
    for image in range(2):
        kept = ranking.kept[image].tolist()
        groups = {i: [i] for i in kept}
        for i in ranking.dropped[image].tolist():
            alike = [F.cosine_similarity(x[image, 1 + i], x[image, 1 + j], dim=0) for j in kept]
            groups[kept[int(torch.stack(alike).argmax())]].append(i)
        for place, i in enumerate(kept):
            weights = size[image, 1:][groups[i]]
            mean = (weights[:, None] * x[image, 1:][groups[i]]).sum(0) / weights.sum()
            torch.testing.assert_close(after.patches[image, place], mean)
            assert after.patch_size[image, place] == weights.sum()
            assert all(after.source[image, j] == place for j in groups[i])


def test_scores_learn_from_the_auxiliary_loss_alone(network):
    student = make_student(network, LearnedQuery, Absorb).train()
    output = student(torch.randn(2, 3, 112, 112))
    assert [s.shape for s in output.summaries] == [(2, 64)] * 3
    queries = student.method.selector.queries
    term = AuxiliaryClassification()
    term.prepare(student, 7)
    teacher, target = TeacherOutput(torch.randn(2, 7), output.features), torch.tensor([1, 2])
    output.logits.sum().backward(retain_graph=True)
    assert queries.grad is None
    student.zero_grad()
    term(output, teacher, target).backward()
    assert queries.grad.abs().sum(dim=1).gt(0).all()
    assert [n for n, p in student.backbone.named_parameters() if p.grad is not None] == []
    assert all(p.grad is not None for p in term.parameters())


@torch.no_grad()
def test_the_auxiliary_loss_by_its_equations(network):
    student = make_student(network, LearnedQuery, Absorb).train()
    output = student(torch.randn(2, 3, 112, 112))
    term = AuxiliaryDistillation()
    term.prepare(student, 7)
    teacher = TeacherOutput(torch.randn(2, 7), output.features)
    expected = []
    for head, summary in zip(term.heads, output.summaries, strict=True):
        logits = head.classify(summary + head.mlp(summary))
        p, q = teacher.logits.softmax(-1), logits.softmax(-1)
        expected.append((p * (p / q).log()).sum(-1).mean())
    actual = term(output, teacher, torch.zeros(2))
    torch.testing.assert_close(actual, torch.stack(expected).mean())


@torch.no_grad()
def test_a_summary_weighs_patches_by_score_and_size(network):
    student = make_student(network, LearnedQuery, Absorb)
    x, size = torch.randn(2, 1 + 6, 64), torch.rand(2, 7) + 0.5
    tokens = Tokens(x, prefix=1, size=size)
    selector = student.method.selector
    score = selector.score(tokens, 1, None)
    normed = F.layer_norm(x[:, 1:], (64,))
    torch.testing.assert_close(score, (normed * selector.queries[1]).sum(-1))
    weight = score.exp() * size[:, 1:]
    expected = (weight.unsqueeze(-1) * normed).sum(1) / weight.sum(1, keepdim=True)
    torch.testing.assert_close(selector.summary(tokens, score), expected)


def test_methods_without_summaries_give_an_auxiliary_loss_of_zero(network):
    selector = next(kind for kind, _ in PAIRS if not kind.learns_by_summaries)
    student = make_student(network, selector, Absorb).train()
    term = AuxiliaryDistillation()
    term.prepare(student, 7)
    output = student(torch.randn(2, 3, 112, 112))
    assert list(term.parameters()) == []
    assert term(output, TeacherOutput(output.logits, output.features), torch.zeros(2)) == 0
