"""Properties of the token mathematics over sizes, precisions and shapes, extremes among them.

`--hypothesis-profile=stress` draws 2,000 examples of each.
"""

from __future__ import annotations

import copy
from functools import cache, partial
from unittest import mock

import pytest
import timm
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from src.config import compose_config
from src.errors import InputError
from src.modules import schedules
from src.modules.backbones import SparseBackbone
from src.modules.layers.attention import Attended, attend, explicit
from src.modules.layers.fused_attention import by_columns, fused
from src.modules.layers.paths import Blended, Gathered
from src.modules.layers.predictor import Predictor
from src.modules.layers.selection import gumbel_keep
from src.modules.layers.tokens import Tokens
from src.modules.methods.ats import sample
from src.modules.methods.base import TokenReduction
from src.modules.methods.mctf import fuse
from src.modules.methods.selectors import position, predictor
from src.modules.methods.tome import merges_per_block
from src.modules.student import attach
from src.modules.teacher import Teacher
from src.modules.weighted_loss import build_loss

pytestmark = pytest.mark.slow

EXTREME = 1e4  # the largest logit drawn
PRECISIONS = [torch.float64, torch.float32, torch.bfloat16, torch.float16]
seeds = st.integers(0, 2**32 - 1)
dtypes = st.sampled_from(PRECISIONS)
batches = st.integers(1, 3)
ratios = st.floats(0.05, 1)
spreads = st.sampled_from([0.0, 0.1, 1.0, 10.0, 100.0, 1000.0, EXTREME])
kinds = st.sampled_from(["drawn", "none", "ones", "merged", "soft", "mixed"])


def make_sizes(kind: str, batch: int, tokens: int, prefix: int = 1) -> Tensor:
    """Sizes `(B, T)` of a kind; prefix tokens have 1."""
    drawn = (torch.rand(batch, tokens) > 0.5).float()
    merged = torch.randint(1, 300, (batch, tokens)).float()
    size = {
        "drawn": drawn,
        "none": torch.zeros(batch, tokens),
        "ones": torch.ones(batch, tokens),
        "merged": merged,
        "soft": torch.rand(batch, tokens).clamp(min=0.01),
        "mixed": drawn * merged,
    }[kind]
    size[:, :prefix] = 1
    return size


def make_heads(batch: int, tokens: int, dtype: torch.dtype, spread: float) -> list[Tensor]:
    """Query, key and value `(B, 2, T, 4)` whose scaled logits lie within +-`spread`."""
    query, key, value = torch.randn(3, batch, 2, tokens, 4, dtype=torch.float64).unbind(0)
    largest = (query @ key.transpose(-2, -1) / 2).abs().max().clamp(min=1e-12)
    factor = (spread / largest).sqrt()
    return [(query * factor).to(dtype), (key * factor).to(dtype), value.to(dtype)]


def assert_finite(*tensors: Tensor) -> None:
    for tensor in tensors:
        assert torch.isfinite(tensor).all()


# Attention --------------------------------------------------------------------------------------


@given(seeds, batches, st.integers(1, 12), dtypes, spreads, kinds, st.integers(0, 2))
def test_attention_is_an_average_whatever_the_logits(
    seed, batch, tokens, dtype, spread, kind, prefix
):
    torch.manual_seed(seed)
    size = make_sizes(kind, batch, tokens, min(prefix, tokens)).requires_grad_()
    inputs = [each.requires_grad_() for each in make_heads(batch, tokens, dtype, spread)]
    largest = inputs[2].detach().abs().amax(dim=2, keepdim=True).float()
    # `fused` calls `by_columns`, which needs a larger range than fp16's, on other devices.
    ways = [attend] if dtype == torch.float16 else [attend, partial(by_columns, scale=0.5)]
    for way in ways:
        out = way(*inputs, size)
        assert out.shape == inputs[0].shape
        assert out.dtype == dtype
        assert_finite(out, *torch.autograd.grad(out.float().square().sum(), [*inputs, size]))
    with torch.no_grad():
        for out in (attend(*inputs, size), attend(*inputs)):
            assert_finite(out)
            assert (out.float().abs() <= largest * 1.02 + 1e-3).all()


@given(seeds, batches, st.integers(1, 12), dtypes, spreads)
def test_masked_equals_removed_whatever_the_logits(seed, batch, tokens, dtype, spread):
    torch.manual_seed(seed)
    query, key, value = make_heads(batch, tokens, dtype, spread)
    size = make_sizes("drawn", batch, tokens)
    attended = Attended(query, key, value, 0.5, size)
    with torch.no_grad():
        masked, weights = attend(query, key, value, size), attended.weights()
    # Logits are summed in fp32, weights and sums are rounded to `dtype`.
    close = 1e-5 + 8 * spread * torch.finfo(torch.float32).eps + 4 * torch.finfo(dtype).eps
    for b, rows in enumerate(size.bool()):
        alone = (slice(b, b + 1), slice(None), rows)
        with torch.no_grad():
            removed = attend(query[alone], key[alone], value[alone])
        torch.testing.assert_close(masked[alone], removed, atol=2 * close, rtol=close)
        assert not weights[b][..., ~rows].any()
        read = weights[b][:, rows].to(dtype) @ value[b]
        torch.testing.assert_close(read, removed[0], atol=2 * close, rtol=close)


@given(
    seeds,
    batches,
    st.integers(1, 12),
    st.sampled_from(PRECISIONS[:2]),
    st.floats(0, 20),
    kinds,
    st.sampled_from([fused, by_columns]),
)
def test_fused_equals_readable(seed, batch, tokens, dtype, spread, kind, way):
    torch.manual_seed(seed)
    inputs = [each.requires_grad_() for each in make_heads(batch, tokens, dtype, spread)]
    size = make_sizes(kind, batch, tokens).requires_grad_()
    direction = torch.randn(batch, 2, tokens, 4, dtype=dtype)
    found = []
    for function in (way, explicit):
        out = function(*inputs, size, 0.5)
        gradients = torch.autograd.grad((out * direction).sum(), [*inputs, size])
        found.append([out.detach(), *gradients])
    for mine, theirs in zip(*found, strict=True):
        most = float(theirs.abs().max())
        torch.testing.assert_close(mine, theirs, atol=1e-4 * max(most, 1), rtol=0)


@given(seeds, batches, st.integers(1, 12), dtypes, spreads, kinds)
def test_attention_that_is_read_sums_to_one(seed, batch, tokens, dtype, spread, kind):
    torch.manual_seed(seed)
    query, key, value = make_heads(batch, tokens, dtype, 4 * spread)
    size = make_sizes(kind, batch, tokens, prefix=0)
    weights = Attended(query, key, value, 0.5, size).weights()
    torch.testing.assert_close(weights.sum(-1), torch.ones(batch, 2, tokens), atol=1e-4, rtol=0)


# Tokens -----------------------------------------------------------------------------------------


@given(seeds, batches, st.integers(1, 40), st.integers(0, 2), dtypes, kinds, st.data())
def test_merging_keeps_the_total_size(seed, batch, patches, prefix, dtype, kind, data):
    torch.manual_seed(seed)
    count = data.draw(st.integers(1, patches))
    tokens = Tokens(torch.randn(batch, prefix + patches, 4).to(dtype), prefix)
    if kind != "ones":
        size = make_sizes(kind, batch, prefix + patches, prefix)
        tokens = Tokens(tokens.x, prefix, size)
    group = torch.stack(
        [torch.cat([torch.arange(count), torch.randint(count, (patches - count,))])] * batch
    )
    weights = torch.rand(batch, patches) * 1e-12, torch.zeros(batch, patches)
    weight = data.draw(st.sampled_from([None, *weights]))
    merged = tokens.merge(group, count, weight)
    assert merged.x.shape == (batch, prefix + count, 4)
    assert merged.x.dtype == dtype
    assert_finite(merged.x, merged.size)
    before = tokens.patch_size
    before = torch.full((batch,), float(patches)) if before is None else before.sum(1)
    torch.testing.assert_close(merged.patch_size.sum(1), before)
    low, high = tokens.patches.float().amin(1), tokens.patches.float().amax(1)
    slack = 0.05 * tokens.patches.float().abs().max() + 1e-6
    assert (merged.patches.float() >= low[:, None] - slack).all()
    assert (merged.patches.float() <= high[:, None] + slack).all()


def test_sizes_are_counted_exactly_in_low_precision():
    tokens = Tokens(torch.randn(1, 601, 4, dtype=torch.bfloat16), prefix=1)
    merged = tokens.merge(torch.zeros(1, 600, dtype=torch.long), 1)
    assert merged.size.tolist() == [[1, 600]]
    assert merged.x.dtype == torch.bfloat16


@given(seeds, batches, st.integers(1, 40), st.integers(0, 2), dtypes, kinds, st.data())
def test_selecting_and_fusing(seed, batch, patches, prefix, dtype, kind, data):
    torch.manual_seed(seed)
    count = data.draw(st.integers(1, patches))
    size = make_sizes(kind, batch, prefix + patches, prefix)
    tokens = Tokens(torch.randn(batch, prefix + patches, 4).to(dtype), prefix, size)
    index = torch.rand(batch, patches).argsort(dim=1)[:, :count]
    kept = tokens.select(index)
    assert kept.x.shape == (batch, prefix + count, 4)
    assert kept.num_patches == patches
    alive = (size[:, prefix:] > 0).float()
    chosen = torch.zeros_like(alive).scatter(1, index, 1)
    assert torch.equal(kept.survivors(), alive * chosen)
    assert torch.equal(kept.count(), (alive * chosen).sum(1))
    fused = tokens.fuse(index, torch.rand(batch, patches))
    assert fused.x.shape == (batch, prefix + count + 1, 4)
    assert fused.x.dtype == dtype
    assert_finite(fused.x)
    torch.testing.assert_close(fused.size.sum(1), size.sum(1))


@given(seeds, batches, st.integers(2, 40), st.integers(0, 2), dtypes, spreads, st.data())
def test_mctf_fuses_whatever_attention_says(seed, batch, patches, prefix, dtype, spread, data):
    torch.manual_seed(seed)
    fewer = data.draw(st.integers(1, patches // 2))
    tokens = Tokens(torch.randn(batch, prefix + patches, 4).to(dtype), prefix)
    received = (spread * torch.randn(batch, patches)).softmax(-1)
    merged, added = fuse(tokens, received, fewer)
    assert merged.patches.shape[1] == patches - fewer
    assert_finite(merged.x, added)
    assert torch.equal(merged.patch_size.sum(1), torch.full((batch,), float(patches)))
    torch.testing.assert_close(added.sum(1), torch.ones(batch), atol=0.02, rtol=0)


@given(seeds, batches, st.integers(1, 40), dtypes, spreads, kinds)
def test_predictor_and_draws(seed, batch, patches, dtype, spread, kind):
    torch.manual_seed(seed)
    predictor = Predictor(8).to(dtype)
    predictor.out_conv[-2].weight.data *= spread
    x = torch.randn(batch, patches, 8, dtype=dtype, requires_grad=True)
    scores = predictor(x, make_sizes(kind, batch, patches, prefix=0))
    assert scores.dtype == dtype
    keep = gumbel_keep(scores)
    assert set(keep.unique().tolist()) <= {0.0, 1.0}
    assert_finite(scores, *torch.autograd.grad(keep.sum(), [x, *predictor.parameters()]))


@given(seeds, batches, st.integers(1, 40), spreads, st.data())
def test_ats_samples_at_least_one(seed, batch, patches, spread, data):
    torch.manual_seed(seed)
    count = data.draw(st.integers(1, patches))
    scores = (spread * torch.randn(batch, patches)).softmax(-1)
    index = sample(scores, count)
    assert index.shape == (batch, count)
    assert (index >= 0).all()
    assert (index < patches).all()
    assert_finite(scores.gather(1, index).log().exp())


@given(seeds, batches, st.integers(1, 20), dtypes, st.data())
def test_gathered_paths_equal_blended_ones(seed, batch, patches, dtype, data):
    torch.manual_seed(seed)
    paths = Gathered(torch.rand(batch, patches).argsort(1), data.draw(st.integers(0, patches)))
    x = torch.randn(batch, patches, 4, dtype=dtype)
    slow, fast = (nn.Sequential(nn.LayerNorm(4), nn.Linear(4, 4)).to(dtype) for _ in range(2))
    assert paths.decision.sum(1).tolist() == [paths.count] * batch
    with torch.no_grad():
        gathered = paths.run(x, slow, fast)
        blended = Blended(paths.decision).run(x, slow, fast)
    torch.testing.assert_close(gathered, blended)


# Schedules --------------------------------------------------------------------------------------


@given(
    ratios,
    ratios,
    st.lists(st.integers(0, 40), min_size=1, max_size=8, unique=True).map(sorted),
    st.integers(1, 5000),
    st.sampled_from(["geometric", "linear", "constant", "arithmetic"]),
)
def test_counts_grow_with_rho_and_fall_with_depth(rho, other, locations, patches, kind):
    make = getattr(schedules, kind)
    low, high = sorted((rho, other))
    if kind == "arithmetic" and low - 0.2 * (len(locations) - 1) <= 0:
        with pytest.raises(InputError, match=r"is not in \(0, 1\]"):
            make(low, locations)
        return
    few, many = make(low, locations), make(high, locations)
    fewer, more = (
        [schedule.num_keep(number, patches) for number in range(len(locations))]
        for schedule in (few, many)
    )
    assert all(1 <= a <= b <= patches for a, b in zip(fewer, more, strict=True))
    assert fewer == sorted(fewer, reverse=True)


@given(ratios, st.integers(1, 24), st.integers(1, 400))
def test_tome_merges_less_than_there_is(rho, depth, patches):
    schedule = schedules.geometric(rho, schedules.evenly_spaced(depth))
    assert 0 <= merges_per_block(schedule, depth, patches) <= patches // 2


# Networks ---------------------------------------------------------------------------------------

LOSS = build_loss(compose_config(["loss=dynamicvit"], ["loss"])["loss"])
TINY = {"img_size": 32, "patch_size": 8, "embed_dim": 16, "depth": 4, "num_heads": 2}
PATCHES = 16
METHODS = ["evit", "tome", "mctf", "structural"]
SELECTING = ["dynamicvit", "static", "random", "attention", "ats"]
NEED_CLASS_TOKEN = ["attention", "ats", "evit"]
AFTER_ATTENTION = ["attention", "ats"]
# Their gradient in a dropped token's size is exp(by how much its logit exceeds the kept ones').
MASKING = ["dynamicvit", "static"]
students = st.tuples(st.sampled_from(SELECTING + METHODS), st.booleans()).filter(
    lambda chosen: chosen[1] or chosen[0] not in NEED_CLASS_TOKEN
)


@cache
def make_network(class_token: bool, spread: float, dtype: torch.dtype) -> nn.Module:
    """A tiny ViT whose attention has logits of about `spread`."""
    torch.manual_seed(0)
    pooled = {} if class_token else {"class_token": False, "global_pool": "avg"}
    network = timm.create_model("vit_tiny_patch16_224", num_classes=5, **TINY, **pooled)
    for parameter in network.parameters():
        parameter.data += 0.2 * torch.randn_like(parameter)
    for block in network.blocks:
        block.attn.qkv.weight.data[:32] *= spread**0.5
    return network.to(dtype).eval()


def make_student(
    method: str,
    rho: float,
    class_token: bool = True,
    spread: float = 1.0,
    dtype: torch.dtype = torch.float32,
) -> SparseBackbone:
    schedule = {"_target_": "src.modules.schedules.geometric", "rho": rho, "locations": [1, 2, 3]}
    network = make_network(class_token, spread, dtype)
    return attach(network, method_options(method), schedule).to(dtype).eval()


@cache
def method_options(method: str) -> dict:
    return compose_config([f"method={method}"], ["method"])["method"]


class Replayed(TokenReduction):
    """Masks by the decisions of another run, where `method` removed."""

    def __init__(self, student: SparseBackbone, method: str, decisions: list[Tensor]) -> None:
        super().__init__(student.method.schedule, student.geometry(student.backbone))
        self.after, self.decisions = method in AFTER_ATTENTION, decisions

    def before_block(self, layer, tokens):
        return tokens if self.after else self.replay(layer, tokens)

    def after_attention(self, layer, tokens, attended):
        return self.replay(layer, tokens) if self.after else tokens

    def replay(self, layer, tokens):
        number = self.number_at(layer)
        return tokens if number is None else tokens.mask(self.decisions[number])


@given(seeds, st.sampled_from(SELECTING), ratios, batches, st.booleans())
def test_a_network_masked_equals_itself_removed(seed, method, rho, batch, gradients):
    torch.manual_seed(seed)
    student = make_student(method, rho)
    images = torch.randn(batch, 3, 32, 32)
    with torch.no_grad():
        removed = student(images)
    student.method = Replayed(student, method, removed.decisions)
    with torch.set_grad_enabled(gradients):
        masked = student(images)
    torch.testing.assert_close(masked.logits, removed.logits, atol=1e-3, rtol=1e-3)
    for mine, theirs in zip(masked.counts, removed.counts, strict=True):
        assert torch.equal(mine, theirs)


@given(seeds, students, ratios, batches, dtypes, spreads)
def test_inference_is_finite(seed, chosen, rho, batch, dtype, spread):
    method, class_token = chosen
    torch.manual_seed(seed)
    student = make_student(method, rho, class_token, spread, dtype)
    with torch.no_grad():
        output = student(torch.randn(batch, 3, 32, 32, dtype=dtype))
    assert output.logits.shape == (batch, 5)
    assert output.logits.dtype == dtype
    assert output.features.shape[:2] == output.size.shape
    assert_finite(output.logits, output.features, output.size)
    assert [decision.shape for decision in output.decisions] == [(batch, PATCHES)] * 3
    least = 0 if method == "ats" else 1
    assert all((least <= count).all() and (count <= PATCHES).all() for count in output.counts)
    if method in ("tome", "mctf"):
        assert output.size.sum(1).tolist() == [PATCHES] * batch


@given(
    seeds,
    students,
    ratios,
    batches,
    st.sampled_from(PRECISIONS[:3]),
    spreads,
    st.sampled_from(["as drawn", "all dropped", "one image dropped"]),
)
def test_training_is_finite(seed, chosen, rho, batch, dtype, spread, drawn):
    method, class_token = chosen
    if method in MASKING:
        spread = min(spread, 1.0)
    torch.manual_seed(seed)
    student = make_student(method, rho, class_token, spread, dtype).train()
    images = torch.randn(batch, 3, 32, 32, dtype=dtype)
    target = torch.randint(5, (batch,))

    def keep(scores: Tensor) -> Tensor:
        kept = gumbel_keep(scores)
        survive = torch.ones(batch, 1)
        if drawn != "as drawn":
            survive[: batch if drawn == "all dropped" else 1] = 0
        return kept * survive

    with (
        mock.patch.object(predictor, "gumbel_keep", keep),
        mock.patch.object(position, "gumbel_keep", keep),
    ):
        output = student(images)
    loss = copy.deepcopy(LOSS)
    loss.prepare(student, num_classes=5)
    total, terms = loss(output, Teacher(student)(images), target)
    assert_finite(total, *terms.values())
    parameters = [p for p in student.parameters() if p.requires_grad]
    gradients = torch.autograd.grad(total, parameters, allow_unused=True)
    assert_finite(*(gradient for gradient in gradients if gradient is not None))
