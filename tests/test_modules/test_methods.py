"""The rivals and baselines: each against a plain transcription of its paper's equations."""

from __future__ import annotations

import math

import pytest
import timm
import torch
from torch import nn

from src.errors import InputError
from src.modules import sparsify
from src.modules.backbones import SparseBackbone
from src.modules.layers.tokens import Tokens
from src.modules.methods import mctf
from src.modules.methods.ats import sample
from src.modules.methods.selectors import position
from src.modules.methods.tome import ToMe, merges_per_block
from src.modules.schedules import geometric
from src.pictures.tokens import overlaps
from tests.combinations import students_of

SMALL = {"embed_dim": 64, "num_heads": 4, "depth": 6, "img_size": 112, "num_classes": 7}
PATCHES = 49
FOUND = {method: student.method for method, student in students_of("vit").items()}
METHODS = [method for method in FOUND if method != "dense"]
# Tokens that stand for several patches and say so; EViT's fused and pooled ones count as one.
MERGING = [m for m in METHODS if FOUND[m].merges and m not in ("evit", "structural")]
UNTRAINED = ("random", "attention", "evit", "tome", "ats", "mctf", "structural")


@pytest.fixture
def network() -> nn.Module:
    return make_network("deit_tiny_patch16_224")


def make_network(name: str, **options) -> nn.Module:
    network = timm.create_model(name, **SMALL | options)
    # Untrained transformers hardly tell tokens apart: shake them so that differences show.
    for parameter in network.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    return network.eval()


def make_images(batch: int = 2) -> torch.Tensor:
    return torch.randn(batch, 3, 112, 112)


def make_student(network: nn.Module, method: str, **options) -> SparseBackbone:
    return sparsify(network, method=method, **options).eval()


@pytest.mark.parametrize("method", [m for m in METHODS if m != "structural"])
@torch.no_grad()
def test_with_nothing_to_do_it_is_dense(network, method):
    images = make_images()
    output = make_student(network, method, rho=1.0)(images)
    torch.testing.assert_close(output.logits, network(images), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("batch", [1, 2, 3])
@pytest.mark.parametrize("method", METHODS)
@torch.no_grad()
def test_counts_follow_the_schedule(network, method, batch):
    output = make_student(network, method, rho=0.7)(make_images(batch))
    assert output.logits.shape == (batch, 7)
    counts = torch.stack(output.counts)
    assert counts.shape == (3, batch)
    asked = torch.tensor([[34.0], [24], [16]])
    if method == "ats":
        assert (counts <= asked).all()
        assert (counts >= 1).all()
    elif method == "structural":
        assert counts[:, 0].tolist() == [49, 16, 16]
    elif method in (
        "tome",
        "pitome",
        "query_cells",
    ):  # merges in every block; adds cells to what it keeps
        assert (counts.diff(dim=0) < 0).all()
    else:
        assert (counts == asked + (method == "evit")).all()


@pytest.mark.parametrize("method", METHODS)
def test_training_gives_gradients_to_every_parameter(network, method):
    student = make_student(network, method).train()
    output = student(make_images())
    learned = sum(d.sum() for d in output.decisions)
    summarized = sum(summary.sum() for summary in output.summaries)
    (output.logits.square().sum() + learned + summarized).backward()
    assert [n for n, p in student.named_parameters() if p.grad is None] == []
    assert all(torch.isfinite(p.grad).all() for p in student.parameters())


@pytest.mark.parametrize("method", UNTRAINED)
def test_untrained_methods_have_nothing_to_learn(network, method):
    assert list(make_student(network, method).method.parameters()) == []


@pytest.mark.parametrize("method", MERGING)
@torch.no_grad()
def test_sizes_sum_to_the_patches_and_sources_say_where_they_went(network, method):
    output = make_student(network, method, rho=0.6)(make_images())
    assert output.size.sum(1).tolist() == pytest.approx([PATCHES] * 2)
    for sizes, source in zip(output.size, output.source, strict=True):
        assert torch.equal(torch.bincount(source, minlength=len(sizes)).float(), sizes)


@torch.no_grad()
def test_merging_merges_what_is_equal_first():
    """Tokens of which each has an exact copy lose nothing when the copies merge."""
    x = torch.randn(1, 25, 8).repeat_interleave(2, dim=1)[:, :49]
    tokens = Tokens(torch.cat([torch.randn(1, 1, 8), x], dim=1), prefix=1)
    received = torch.rand(1, 49)
    merged, _ = mctf.fuse(tokens, received, 24)
    assert merged.patches.shape[1] == 25
    apart = (merged.patches.unsqueeze(2) - x.unsqueeze(1)).norm(dim=-1)
    assert apart.amin(dim=-1).max() < 1e-5


# ToMe ------------------------------------------------------------------------------------------


def reference_tome(network: nn.Module, images: torch.Tensor, r: int) -> torch.Tensor:
    """The paper's section 3, token by token and with lists."""
    x = network._pos_embed(network.patch_embed(images))
    assert len(x) == 1
    tokens, sizes = list(x[0]), [1.0] * x.shape[1]
    for block in network.blocks:
        x = torch.stack(tokens)
        size = torch.tensor(sizes)
        qkv = block.attn.qkv(block.norm1(x)).reshape(len(x), 3, block.attn.num_heads, -1)
        q, k, v = qkv.permute(1, 2, 0, 3)  # (H, T, D)
        logits = q @ k.transpose(1, 2) / math.sqrt(q.shape[-1]) + size.log()  # Eq. 1
        mixed = (logits.softmax(-1) @ v).transpose(0, 1).flatten(1)
        x = x + block.attn.proj(mixed)
        keys = k.mean(0)
        a = list(range(0, len(x), 2))  # the class token is in A, but may not leave
        b = list(range(1, len(x), 2))
        edges = []
        for i in a[1:]:
            similarity = [torch.cosine_similarity(keys[i], keys[j], dim=0).item() for j in b]
            best = max(range(len(b)), key=similarity.__getitem__)
            edges.append((similarity[best], i, b[best]))
        edges.sort(reverse=True)
        groups = {j: [j] for j in b}
        gone = set()
        for _, i, j in edges[:r]:
            groups[j].append(i)
            gone.add(i)
        tokens, merged_sizes = [], []
        for i in [i for i in a if i not in gone]:
            tokens.append(x[i])
            merged_sizes.append(sizes[i])
        for j in b:
            total = sum(sizes[i] for i in groups[j])
            tokens.append(sum(sizes[i] * x[i] for i in groups[j]) / total)
            merged_sizes.append(total)
        sizes = merged_sizes
        x = torch.stack(tokens)
        tokens = list(x + block.mlp(block.norm2(x)))
    return network.forward_head(network.norm(torch.stack(tokens)[None]))


@pytest.mark.parametrize("r", [1, 3, 6])
@torch.no_grad()
def test_tome_is_the_papers(network, r):
    student = make_student(network, "tome")
    student.method.r = r
    images = make_images(1)
    ours, theirs = student(images).logits, reference_tome(network, images, r)
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)
    assert (ours - network(images)).abs().max() > 1e-3


def test_tome_costs_what_the_schedule_costs():
    schedule = geometric(0.7, (3, 6, 9))
    r = merges_per_block(schedule, 12, 196)
    assert r == 12
    passed = sum(196 - r * layer + 196 - r * (layer + 1) for layer in range(12))
    dropped = 2 * 3 * (196 + 137 + 96 + 67)
    assert passed == pytest.approx(dropped, rel=0.03)
    assert merges_per_block(geometric(1.0, (3, 6, 9)), 12, 196) == 0


@pytest.mark.parametrize("r", [-1, 2.5, "many", True])
def test_tome_refuses_strange_r(network, r):
    with pytest.raises(InputError, match=r"method\.r="):
        ToMe(geometric(0.7, (1, 2)), sparsify(network).geometry(network), r=r)


# EViT, attention -------------------------------------------------------------------------------


def reference_evit(network, images, location, count, fused) -> torch.Tensor:
    """Keep the most attended, sum the rest by attention (Eq. 4), inside one block."""
    x = network._pos_embed(network.patch_embed(images))
    for layer, block in enumerate(network.blocks):
        qkv = block.attn.qkv(block.norm1(x)).reshape(*x.shape[:2], 3, block.attn.num_heads, -1)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        attention = (q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])).softmax(-1)
        x = x + block.attn.proj((attention @ v).transpose(1, 2).flatten(2))
        if layer == location:
            rows = []
            for image, scores in zip(x, attention[:, :, 0, 1:].mean(1), strict=True):
                order = scores.argsort(descending=True)
                kept, rest = order[:count], order[count:]
                parts = [image[:1], image[1:][kept]]
                if fused:
                    parts.append((scores[rest, None] * image[1:][rest]).sum(0, keepdim=True))
                rows.append(torch.cat(parts))
            x = torch.stack(rows)
        x = x + block.mlp(block.norm2(x))
    return network.forward_head(network.norm(x))


@pytest.mark.parametrize("method", ["evit", "attention"])
@torch.no_grad()
def test_evit_and_attention_are_the_papers(network, method):
    images = make_images(2)
    student = make_student(network, method, ratios=[0.5], locations=[2])
    theirs = reference_evit(network, images, 2, 24, fused=method == "evit")
    torch.testing.assert_close(student(images).logits, theirs, atol=1e-5, rtol=1e-5)


# ATS -------------------------------------------------------------------------------------------


def test_ats_reads_the_cumulated_scores_at_equal_steps():
    scores = torch.tensor([[0.05, 0.6, 0.05, 0.3], [0.25, 0.25, 0.25, 0.25]])
    # Middles of 4 steps: .125 .375 .625 .875
    assert sample(scores, 4).tolist() == [[1, 1, 1, 3], [0, 1, 2, 3]]


@torch.no_grad()
def test_ats_keeps_fewer_where_few_are_significant(network, monkeypatch):
    from src.modules.methods import ats

    one = torch.zeros(2, PATCHES)
    one[0, 7] = 1  # all significance on one token
    one[1] = 1 / PATCHES
    monkeypatch.setattr(ats, "significance", lambda tokens, attended: one)
    student = make_student(network, "ats", ratios=[0.5], locations=[2])
    output = student(make_images())
    assert output.counts[0].tolist() == [1, 24]
    assert output.decisions[0].sum(1).tolist() == [1, 24]
    assert output.decisions[0][0, 7] == 1


@torch.no_grad()
def test_ats_in_a_batch_is_ats_alone(network):
    images = make_images(3) * torch.tensor([0.1, 1, 5]).view(-1, 1, 1, 1)
    student = make_student(network, "ats", rho=0.6)
    together = student(images).logits
    alone = torch.cat([student(image[None]).logits for image in images])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)


# MCTF ------------------------------------------------------------------------------------------


@torch.no_grad()
def test_mctf_is_the_papers_attraction_and_weights():
    """Eq. 3-6 by hand on six tokens, of which two move: one each way."""
    torch.manual_seed(1)
    x, received, size = torch.randn(6, 4), torch.rand(6) + 0.1, torch.tensor([1.0, 2, 1, 3, 1, 1])
    prefix = torch.randn(1, 4)
    tokens = Tokens(torch.cat([prefix, x])[None], 1, torch.cat([torch.ones(1), size])[None])
    merged, _ = mctf.fuse(tokens, received[None], 2)

    information, small = 1 / received, 1 / size
    information, small = information / information.max(), small / small.max()
    a, b = [1, 3, 5], [0, 2, 4]  # with the class token before them these are places 2, 4, 6

    def attraction(i: int, j: int) -> float:
        similarity = (torch.cosine_similarity(x[i], x[j], dim=0).item() + 1) / 2
        informative = (information[i] * information[j]).item() ** (1 / 20)
        return similarity * informative * (small[i] * small[j]).item() ** (1 / 40)

    def strongest(sources, targets):
        return max((attraction(i, j), i, j) for i in sources for j in targets)[1:]

    there = strongest(a, b)
    back = strongest(b, [i for i in a if i != there[0]])
    members = {i: {i} for i in range(6)}
    members[there[1]] |= members.pop(there[0])
    members[back[1]] |= members.pop(back[0])
    weight = received * size
    expected = {
        frozenset(group): (weight[list(group)] @ x[list(group)]) / weight[list(group)].sum()
        for group in members.values()
    }
    assert merged.patches.shape[1] == 4
    for row, total in zip(merged.patches[0], merged.patch_size[0], strict=True):
        near = min(expected, key=lambda group: (expected[group] - row).norm().item())
        torch.testing.assert_close(row, expected.pop(near))
        assert total.item() == size[list(near)].sum()


# Static, structural ----------------------------------------------------------------------------


@torch.no_grad()
def test_static_masked_equals_removed(network, monkeypatch):
    images = make_images()
    student = make_student(network, "static", rho=0.6)
    removed = student(images)
    assert torch.equal(removed.decisions[0][0], removed.decisions[0][1])
    decided = iter(removed.decisions)
    monkeypatch.setattr(position, "gumbel_keep", lambda scores: next(decided))
    student.method.train()
    masked = student(images)
    torch.testing.assert_close(masked.logits, removed.logits, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_structural_is_average_pooling(network):
    images = make_images()
    x = network._pos_embed(network.patch_embed(images))
    for layer, block in enumerate(network.blocks):
        if layer == 3:
            grid = x[:, 1:].transpose(1, 2).unflatten(2, (7, 7))
            pooled = nn.functional.avg_pool2d(grid, 2, ceil_mode=True, count_include_pad=False)
            x = torch.cat([x[:, :1], pooled.flatten(2).transpose(1, 2)], dim=1)
        x = block(x)
    theirs = network.forward_head(network.norm(x))
    ours = make_student(network, "structural", ratios=[0.5], locations=[3])(images).logits
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


# Families --------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["attention", "evit", "ats"])
def test_methods_of_the_class_token_need_one(method):
    network = make_network("vit_base_patch16_gap_224")
    with pytest.raises(InputError, match="no class token"):
        sparsify(network, method=method)


@pytest.mark.parametrize(
    "method", ["random", "attention", "static", "ats", "evit", "tome", "mctf", "structural"]
)
@torch.no_grad()
def test_rotary_positions_follow_their_tokens(method):
    student = make_student(make_network("eva02_tiny_patch14_224", img_size=112), method)
    assert student(make_images()).logits.shape == (2, 7)


@pytest.mark.parametrize("method", METHODS)
def test_distillation_sees_the_tokens_that_are_left(network, method):
    """Removed tokens have no distance to the teacher, merged ones do: all share the losses."""
    from src.modules.losses import TokenDistillation
    from src.modules.teacher import Teacher

    student = make_student(network, method, rho=1.0).train()
    images = make_images()
    loss = TokenDistillation()
    target = torch.zeros(2, dtype=torch.long)
    if method not in ("structural", "static", "dynamicvit"):  # pooled, or drawn in training
        assert loss(student(images), Teacher(student)(images), target).item() < 1e-8
    student.method.schedule = geometric(0.5, student.method.schedule.locations)
    assert loss(student(images), Teacher(student)(images), target).item() > 1e-5


@pytest.mark.parametrize("method", ["attention", "tome", "mctf", "ats", "structural"])
@torch.no_grad()
def test_shares_are_of_whole_tokens(network, method):
    output = make_student(network, method, rho=0.5)(make_images(3))
    for number, count in enumerate(output.counts):
        shares = output.steps[number].shares()
        assert shares.shape == (3, PATCHES)
        torch.testing.assert_close(shares.sum(dim=1), count)


@torch.no_grad()
def test_a_share_is_one_over_the_size(network):
    output = make_student(network, "tome", rho=0.5)(make_images())
    sizes = output.size.gather(1, output.source)
    torch.testing.assert_close(
        output.steps[2].shares()[sizes == 1], torch.ones(int((sizes == 1).sum()))
    )
    assert (sizes > 1).any()


def test_overlap_is_common_over_either():
    one, other = (
        torch.tensor([[1.0, 1, 0, 0], [0.5, 0.5, 1, 0]]),
        torch.tensor([[1.0, 0, 1, 0]] * 2),
    )
    assert overlaps(one, other).tolist() == pytest.approx([1 / 3, 1.5 / 2.5])
