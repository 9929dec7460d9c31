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
from src.modules import load_weights, sparsify
from src.modules.auxiliary import (
    AuxiliaryClassification,
    AuxiliaryDistillation,
    AuxiliaryFeatures,
)
from src.modules.backbones import family_of
from src.modules.layers.attention import Attended
from src.modules.layers.tokens import Tokens
from src.modules.losses import TeacherOutput
from src.modules.methods import disposals, selectors
from src.modules.methods.disposals.absorb import Absorb
from src.modules.methods.disposals.base import Disposal, Ranking
from src.modules.methods.disposals.cells import Cells
from src.modules.methods.disposals.drop import Drop
from src.modules.methods.selection import Selection
from src.modules.methods.selectors.base import Seen, Selector
from src.modules.methods.selectors.norm import TokenNorm
from src.modules.methods.selectors.position import PositionScore
from src.modules.methods.selectors.query import LearnedQuery
from src.modules.methods.selectors.representation_shift import RepresentationShift
from src.modules.methods.selectors.value_attention import ClassTokenValue
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
    assert len(PAIRS) >= 28
    assert (LearnedQuery, Absorb) in PAIRS


@pytest.mark.parametrize(
    ("method", "name"),
    [("query_absorb", "LearnedQuery with Absorb"), ("evit", "EViT"), ("tome", "ToMe")],
)
def test_a_name_says_what_a_method_is_made_of(method, name):
    assert make_small("vit", method).method.name == name


@pytest.mark.parametrize("name", ["vit", "eva", "lvvit"])
@pytest.mark.parametrize(
    ("selector", "disposal"), [pair for pair in PAIRS if not pair[0].draws_masks]
)
def test_training_computes_what_inference_computes(name, selector, disposal):
    network = make_network(name).eval()
    student = shaken(make_student(network, selector, disposal))
    images = torch.randn(2, 3, 64, 64)
    if name == "eva" and disposal.__name__.endswith("ByProducts"):
        with pytest.raises(InputError, match="select=matmul: tokens with rotary positions"):
            student(images)
        return
    torch.manual_seed(3)
    with torch.no_grad():
        inference = student(images)
    student.method.train()  # alone: LV-ViT gives other logits in training
    torch.manual_seed(3)
    training = student(images)
    torch.testing.assert_close(training.logits, inference.logits, atol=1e-6, rtol=0)
    assert len(training.decisions) == 3
    for kind in ("decisions", "counts"):
        assert all(map(torch.equal, getattr(training, kind), getattr(inference, kind)))
    for one, other in zip(training.steps, inference.steps, strict=True):
        assert one.source is other.source is None or torch.equal(one.source, other.source)
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
    ranking = Ranking(score, score, 3)
    after = Absorb()(tokens, ranking)
    for image in range(2):
        kept, dropped = (part[image].tolist() for part in ranking.split())
        groups = {i: [i] for i in kept}
        for i in dropped:
            alike = [F.cosine_similarity(x[image, 1 + i], x[image, 1 + j], dim=0) for j in kept]
            groups[kept[int(torch.stack(alike).argmax())]].append(i)
        for place, i in enumerate(kept):
            weights = size[image, 1:][groups[i]]
            mean = (weights[:, None] * x[image, 1:][groups[i]]).sum(0) / weights.sum()
            torch.testing.assert_close(after.patches[image, place], mean)
            assert after.patch_size[image, place] == weights.sum()
            assert all(after.source[image, j] == place for j in groups[i])


@pytest.mark.parametrize("kind", [AuxiliaryClassification, AuxiliaryFeatures])
def test_scores_learn_from_the_auxiliary_loss_alone(network, kind):
    student = make_student(network, LearnedQuery, Absorb).train()
    output = student(torch.randn(2, 3, 112, 112))
    assert [s.shape for s in output.summaries] == [(2, 64)] * 3
    queries = student.method.selector.queries
    term = kind()
    term.prepare(student, 7)
    features, target = output.features.detach(), torch.tensor([1, 2])
    teacher = TeacherOutput(torch.randn(2, 7), features)
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
        logits = head.linear(summary + head.mlp(summary))
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
    score = selector.score(tokens, 1, Seen())
    normed = F.layer_norm(x[:, 1:], (64,))
    torch.testing.assert_close(score, (normed * selector.queries[1]).sum(-1))
    weight = score.exp() * size[:, 1:]
    expected = (weight.unsqueeze(-1) * normed).sum(1) / weight.sum(1, keepdim=True)
    torch.testing.assert_close(selector.summary(tokens, score), expected)


def test_without_classes_a_head_predicts_the_mean_of_the_teachers_features(network):
    student = make_student(network, LearnedQuery, Absorb).train()
    output = student(torch.randn(2, 3, 112, 112))
    term = AuxiliaryFeatures()
    term.prepare(student, 0)
    teacher = TeacherOutput(output.logits, torch.randn(2, PATCHES, 64))
    value = term(output, teacher, torch.zeros(2))
    mean = teacher.features.mean(1)
    heads = zip(term.heads, output.summaries, strict=True)
    expected = [(head(summary) - mean).square().mean() for head, summary in heads]
    torch.testing.assert_close(value, torch.stack(expected).mean())
    value.backward()
    assert student.method.selector.queries.grad.abs().sum(dim=1).gt(0).all()
    assert all(p.grad is None for p in student.backbone.parameters())


@torch.no_grad()
def test_weights_under_former_names_are_the_same_student(network, tmp_path):
    for method, present, former in (
        ("dynamicvit", "method.selector.predictors.", "method.predictors."),
        ("static", "method.selector.scores", "method.scores"),
    ):
        student = sparsify(network, method=method, locations=[1, 3]).eval()
        old = {key.replace(present, former): v for key, v in student.state_dict().items()}
        assert old.keys() != student.state_dict().keys()
        torch.save(old, tmp_path / "old.pth")
        loaded = [sparsify(network, method=method, locations=[1, 3]).eval() for _ in range(2)]
        load_weights(loaded[0], tmp_path / "old.pth")
        loaded[1].load_state_dict(old)
        images = torch.randn(2, 3, 112, 112)
        for other in loaded:
            assert torch.equal(other(images).logits, student(images).logits)


@torch.no_grad()
def test_cells_are_means_by_place(network):
    x = torch.randn(1, 1 + 16, 8)  # 4 x 4 patches in 2 x 2 cells
    score = torch.arange(16.0)[None]
    score[0, 5] = 20.0  # best first: 5, 15, 14; cell 3 is left with 10 and 11
    after = Cells()(Tokens(x, prefix=1, grid=(4, 4)), Ranking(score, score, 3))
    cells = [[0, 1, 4], [2, 3, 6, 7], [8, 9, 12, 13], [10, 11]]
    torch.testing.assert_close(after.patches[0, :3], x[0, 1:][[5, 15, 14]])
    for number, members in enumerate(cells):
        torch.testing.assert_close(after.patches[0, 3 + number], x[0, 1:][members].mean(0))
    assert after.patch_size[0].tolist() == [1, 1, 1, 3, 4, 4, 2]

    again = torch.tensor([[0.0, 9, 8, 7, 1, 2, -torch.inf]])  # 5 and three means are left out
    last = Cells()(after, Ranking(again, again, 3))
    assert last.patch_size[0].tolist() == [1, 1, 3, 1, 4, 4, 2]
    torch.testing.assert_close(last.patches[0, 3], x[0, 1 + 5])
    assert last.source[0].tolist() == [2, 2, 4, 4, 2, 3, 4, 4, 5, 5, 6, 6, 5, 5, 1, 0]


@torch.no_grad()
def test_an_empty_cell_stands_for_nothing_and_is_never_selected():
    x, score = torch.randn(1, 1 + 4, 8), torch.tensor([[1.0, 2.0, 3.0, 0.0]])
    after = Cells()(Tokens(x, prefix=1, grid=(2, 2)), Ranking(score, score, 3))
    assert after.patch_size[0].tolist() == [1, 1, 1, 0, 0, 0, 1]
    assert after.count().tolist() == [4]


@torch.no_grad()
def test_representation_shift_is_what_the_mlp_before_added(network):
    student = make_student(network, RepresentationShift, Drop)
    images = torch.randn(1, 3, 112, 112)
    entered = []
    network.blocks[0].mlp.register_forward_hook(lambda module, args, out: entered.append(out))
    output = student(images)
    best = entered[0][0, 1:].norm(dim=-1).topk(output.counts[0].int().item()).indices
    assert output.decisions[0][0].nonzero().flatten().tolist() == sorted(best.tolist())
    with pytest.raises(InputError, match="asks for block 0"):
        student.method.schedule = geometric(0.5, (0, 3, 4))


@torch.no_grad()
def test_norms_are_those_of_the_tokens(network):
    student = make_student(network, TokenNorm, Drop)
    tokens = Tokens(torch.randn(2, 1 + 6, 64), prefix=1)
    expected = tokens.patches.square().sum(-1).sqrt()
    torch.testing.assert_close(student.method.selector.score(tokens, 0, Seen()), expected)


@torch.no_grad()
def test_a_merged_position_scores_the_mean_and_a_fused_one_lowest(network):
    selector = make_student(network, PositionScore, Drop).method.selector
    source = torch.arange(49) % 6
    source[source == 4] = -1
    tokens = Tokens(torch.randn(1, 1 + 6, 64), prefix=1, source=source[None])
    score = selector.score(tokens, 1, Seen())[0]
    for token in (0, 1, 2, 3, 5):
        torch.testing.assert_close(score[token], selector.scores[1][source == token].mean())
    assert score[4] == -torch.inf


@torch.no_grad()
def test_attention_counts_by_the_value_that_it_takes(network):
    selector = make_student(network, ClassTokenValue, Absorb).method.selector
    query, key, value = torch.randn(3, 1, 4, 1 + 6, 16).unbind(0)
    value[:, :, 1 + 2] *= 0  # attended to or not, it hands on nothing
    tokens = Tokens(torch.randn(1, 1 + 6, 64), prefix=1)
    score = selector.score(tokens, 0, Seen(Attended(query, key, value, 0.25, None)))[0]
    for patch in range(6):
        expected = 0.0
        for head in range(4):
            logits = key[0, head] @ query[0, head, 0] * 0.25
            norm = value[0, head, 1 + patch].square().sum().sqrt()
            expected += logits.exp()[1 + patch] / logits.exp().sum() * norm / 4
        torch.testing.assert_close(score[patch], expected)
    assert score.argmin() == 2
