"""The token mathematics by itself."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from src.modules.layers.attention import attend, explicit, sized_softmax
from src.modules.layers.fused_attention import by_columns, fused
from src.modules.layers.predictor import Predictor, size_weighted_mean
from src.modules.layers.selection import gumbel_keep
from src.modules.layers.tokens import Tokens


def make_tokens(batch=2, patches=9, prefix=1, dim=8):
    return Tokens(torch.randn(batch, prefix + patches, dim), prefix)


def held(tokens, dim=8, sized=True):
    """Numbers that attention keeps for its backward pass."""
    kept = {}

    def keep(tensor):
        kept[tensor.data_ptr()] = tensor.numel()
        return tensor

    inputs = [torch.randn(1, 2, tokens, dim, requires_grad=True) for _ in range(3)]
    size = torch.ones(1, tokens, requires_grad=True) if sized else None
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        out = attend(*inputs, size)
    assert out.requires_grad
    return sum(kept.values())


class TestTokens:
    def test_select_gathers_and_keeps_the_prefix(self):
        tokens = make_tokens(prefix=2)
        index = torch.tensor([[8, 0, 3], [1, 2, 4]])
        kept = tokens.select(index)
        assert torch.equal(kept.x[:, :2], tokens.x[:, :2])
        assert torch.equal(kept.patches[0], tokens.patches[0, [8, 0, 3]])
        assert torch.equal(kept.patches[1], tokens.patches[1, [1, 2, 4]])

    def test_source_follows_two_selections(self):
        tokens = make_tokens(batch=1, patches=5)
        kept = tokens.select(torch.tensor([[4, 1, 3]])).select(torch.tensor([[2, 0]]))
        # Patch 3 is now token 0, patch 4 token 1; the others stand for nothing.
        assert kept.source.tolist() == [[-1, -1, -1, 0, 1]]
        assert kept.survivors().tolist() == [[0, 0, 0, 1, 1]]
        assert kept.num_patches == 5
        for patch in (3, 4):
            token = kept.source[0, patch]
            assert torch.equal(kept.patches[0, token], tokens.patches[0, patch])

    def test_a_dropped_token_never_returns(self):
        tokens = make_tokens(batch=1, patches=3)
        tokens = tokens.mask(torch.tensor([[1.0, 0.0, 1.0]]))
        tokens = tokens.mask(torch.tensor([[0.0, 1.0, 1.0]]))
        assert tokens.size.tolist() == [[1, 0, 0, 1]]
        assert tokens.survivors().tolist() == [[0, 0, 1]]
        assert tokens.count().tolist() == [1]

    def test_select_takes_sizes_and_data_along(self):
        tokens = Tokens(
            torch.randn(2, 4, 8),
            prefix=1,
            size=torch.tensor([[1.0, 5, 6, 7], [1, 8, 9, 10]]),
            data={"rows": torch.arange(6.0).view(1, 3, 2), "places": torch.arange(3).view(1, 3)},
        )
        kept = tokens.select(torch.tensor([[2, 0], [1, 2]]))
        assert kept.size.tolist() == [[1, 7, 5], [1, 9, 10]]
        assert kept.data["rows"][0].tolist() == [[4, 5], [0, 1]]
        assert kept.data["places"].tolist() == [[2, 0], [1, 2]]
        again = kept.select(torch.tensor([[1], [0]]))
        assert again.data["rows"].tolist() == [[[0, 1]], [[2, 3]]]
        assert again.data["places"].tolist() == [[0], [1]]

    def test_a_merged_token_has_the_data_of_its_heaviest_member(self):
        data = {"places": torch.arange(4)[None], "rows": torch.arange(8.0).view(1, 4, 2)}
        tokens = Tokens(
            torch.randn(2, 5, 8),
            prefix=1,
            size=torch.tensor([[1.0, 2, 5, 1, 1], [1, 3, 1, 2, 4]]),
            data=data,
        )
        group = torch.tensor([[1, 1, 0, 0], [0, 1, 1, 0]])
        merged = tokens.merge(group, 2)
        assert merged.data["places"].tolist() == [[2, 1], [3, 2]]  # of equals the first
        assert merged.data["rows"].tolist() == [[[4, 5], [2, 3]], [[6, 7], [4, 5]]]
        by_weight = tokens.merge(group, 2, torch.tensor([[1.0, 0, 0, 2], [9, 5, 4, 1]]))
        assert by_weight.data["places"].tolist() == [[3, 0], [0, 1]]
        assert merged.merge(torch.zeros(2, 2).long(), 1).data["places"].tolist() == [[1], [3]]

    def test_a_fused_token_has_the_data_of_its_heaviest_member(self):
        tokens = Tokens(torch.randn(2, 5, 8), prefix=1, data={"places": torch.arange(4)[None]})
        weight = torch.tensor([[9.0, 1, 2, 1], [1, 1, 9, 9]])
        fused = tokens.fuse(torch.tensor([[0], [2]]), weight)
        assert fused.data["places"].tolist() == [[0, 2], [2, 3]]


class TestAttention:
    @settings(max_examples=40, deadline=None)
    @given(st.integers(0, 10_000), st.floats(0.1, 7))
    def test_masked_equals_removed(self, seed, scale):
        torch.manual_seed(seed)
        query, key, value = torch.randn(3, 2, 3, 7, 4).unbind(0)
        query = query * scale
        keep = (torch.rand(2, 7) > 0.5).float()
        keep[:, 0] = 1
        masked = attend(query, key, value, keep)
        with torch.no_grad():
            biased = attend(query, key, value, keep)
        for b in range(2):
            rows = keep[b].bool()
            removed = attend(
                query[b : b + 1, :, rows], key[b : b + 1, :, rows], value[b : b + 1, :, rows]
            )
            for mine in (masked, biased):
                torch.testing.assert_close(mine[b : b + 1, :, rows], removed, atol=1e-5, rtol=1e-4)

    @settings(max_examples=60, deadline=None)
    @given(
        st.integers(0, 10_000),
        st.floats(0.1, 3),
        st.sampled_from(["drawn", "merged", "soft", "all"]),
        st.sampled_from([fused, by_columns]),
    )
    def test_fused_equals_explicit_gradients_included(self, seed, scale, kind, way):
        torch.manual_seed(seed)
        tokens = 9
        inputs = [(scale * torch.randn(2, 3, tokens, 6)).requires_grad_() for _ in range(3)]
        sizes = {
            "drawn": (torch.rand(2, tokens) > 0.6).float().index_fill(1, torch.tensor([0]), 1),
            "merged": torch.randint(1, 5, (2, tokens)).float(),
            "soft": torch.rand(2, tokens).clamp(min=0.05),
            "all": torch.ones(2, tokens),
        }
        size = sizes[kind].requires_grad_()
        direction = torch.randn(2, 3, tokens, 6)
        found = []
        for function in (way, explicit):
            out = function(*inputs, size, 6**-0.5)
            gradients = torch.autograd.grad((out * direction).sum(), [*inputs, size])
            found.append([out.detach(), *gradients])
        for mine, theirs in zip(*found, strict=True):
            largest = float(theirs.abs().max())
            # A dropped key's logit is lowered by 64, and fp32 numbers of that size are 8e-6 apart.
            torch.testing.assert_close(mine, theirs, atol=1e-4 * max(largest, 1), rtol=0)

    @pytest.mark.parametrize("kept", [[0.0, 1.0, 1.0, 1.0], [1.0, 1.0, 1.0, 1.0]])
    def test_ordinary_logits_keep_the_exact_gradient_of_sizes(self, kept):
        torch.manual_seed(0)
        inputs = [torch.randn(1, 2, 4, 6) for _ in range(3)]
        size = torch.tensor([kept], requires_grad=True)
        direction = torch.randn(1, 2, 4, 6)
        found = [
            torch.autograd.grad((way * direction).sum(), size)[0]
            for way in (attend(*inputs, size), explicit(*inputs, size, 6**-0.5))
        ]
        torch.testing.assert_close(*found, rtol=1e-4, atol=1e-4)

    @pytest.mark.parametrize("excess", [10.0, 40.0])
    @pytest.mark.parametrize("dropout", [0.0, 1e-9])
    def test_a_dropped_key_of_a_large_logit_has_a_gradient_in_proportion(self, excess, dropout):
        query = torch.ones(1, 1, 3, 2)
        key = torch.tensor([[0.0, 0.0], [0.0, 0.0], [excess, 0.0]]).view(1, 1, 3, 2)
        value = torch.tensor([[0.0, 0.0], [0.0, 0.0], [3.0, 4.0]]).view(1, 1, 3, 2)
        size = torch.tensor([[1.0, 1.0, 0.0]], requires_grad=True)

        def loss(size):
            return attend(query, key, value, size, dropout, scale=1.0)[:, :, :2].sum()

        (gradient,) = torch.autograd.grad(loss(size), size)
        change = loss(torch.ones(1, 3)) - loss(size)  # two queries move to (3, 4)
        torch.testing.assert_close(change.item(), 14.0, atol=0.01, rtol=0)
        # |(1, 1)| |(3, 4)| for each of both, where the softmax's derivative is 7 e^excess.
        torch.testing.assert_close(gradient[0, 2].item(), 2 * 2**0.5 * 5, atol=1e-3, rtol=0)

    @pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
    def test_low_precision_is_near(self, dtype):
        inputs = [torch.randn(2, 3, 50, 16) for _ in range(3)]
        size = (torch.rand(2, 50) > 0.5).float().index_fill(1, torch.tensor([0]), 1)
        size.requires_grad_()
        wanted = explicit(*inputs, size, scale=0.25)
        mine = attend(*(t.to(dtype) for t in inputs), size)
        assert mine.dtype == dtype
        torch.testing.assert_close(mine.float(), wanted, atol=0.03, rtol=0.03)

    @pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
    def test_extreme_logits_stay_finite(self, dtype):
        query, key, value = (torch.randn(1, 1, 6, 4) for _ in range(3))
        inputs = [t.to(dtype).requires_grad_() for t in (query * 300, key * 300, value)]
        size = torch.tensor([[1.0, 0, 0, 1, 0, 1]], requires_grad=True)
        out = attend(*inputs, size)
        assert torch.isfinite(out).all()
        for gradient in torch.autograd.grad(out.float().sum(), [*inputs, size]):
            assert torch.isfinite(gradient).all()

    def test_memory_grows_as_tokens_not_as_their_square(self):
        assert held(400) < 4.5 * held(100)

    def test_sizes_keep_next_to_nothing_for_the_backward_pass(self):
        assert held(100, dim=64) < 1.05 * held(100, dim=64, sized=False)

    def test_sizes_count_as_copies(self):
        query, key, value = torch.randn(3, 1, 2, 4, 8).unbind(0)
        size = torch.tensor([[1.0, 3, 1, 2]])
        with torch.no_grad():
            biased = attend(query, key, value, size)
        torch.testing.assert_close(biased, attend(query, key, value, size))
        copies = [0, 1, 1, 1, 2, 3, 3]
        expected = attend(query[:, :, copies], key[:, :, copies], value[:, :, copies])
        torch.testing.assert_close(attend(query, key, value, size)[:, :, 1], expected[:, :, 1])

    def test_a_dropped_key_with_the_largest_logit_gets_nothing(self):
        logits = torch.zeros(1, 1, 3, 3)
        logits[..., 2] = 1000
        weights = sized_softmax(logits, torch.tensor([[1.0, 1.0, 0.0]]))
        assert weights[0, 0, 0].tolist() == [0.5, 0.5, 0.0]

    def test_a_dropped_token_sees_itself_and_the_kept(self):
        weights = sized_softmax(torch.zeros(1, 1, 3, 3), torch.tensor([[1.0, 0.0, 0.0]]))
        assert weights[0, 0, 1].tolist() == [0.5, 0.5, 0.0]

    def test_finite_gradients_where_dropped_logits_are_extreme(self):
        logits = torch.tensor([[[[0.0, 1e4], [1e4, 0.0]]]], requires_grad=True)
        size = torch.tensor([[1.0, 0.0]], requires_grad=True)
        sized_softmax(logits, size)[..., 0].sum().backward()
        assert torch.isfinite(logits.grad).all()
        assert torch.isfinite(size.grad).all()

    def test_gradient_in_size_is_the_analytic_one(self):
        logits = torch.randn(1, 2, 4, 4, dtype=torch.float64)
        size = torch.tensor([[1.0, 0.0, 1.0, 1.0]], requires_grad=True)
        value = torch.randn(4)
        (sized_softmax(logits, size) @ value).sum().backward()
        weight = torch.where(torch.eye(4).bool(), size.detach().clamp(min=1), size.detach())
        terms = logits.float().exp() * weight
        share = terms / terms.sum(-1, keepdim=True)
        mean = (share @ value).unsqueeze(-1)
        slope = (
            logits.float().exp() / terms.sum(-1, keepdim=True) * (value - mean)
        )  # d out/d weight
        own = torch.eye(4).bool()
        expected = slope.masked_fill(own, 0).sum((0, 1, 2))
        torch.testing.assert_close(size.grad[0], expected, atol=1e-5, rtol=1e-4)


class TestPredictor:
    def test_masked_context_equals_removed(self):
        predictor = Predictor(16)
        x = torch.randn(1, 6, 16)
        size = torch.tensor([[1.0, 0, 1, 1, 0, 1]])
        masked = predictor(x, size)[:, size[0].bool()]
        torch.testing.assert_close(masked, predictor(x[:, size[0].bool()]))

    def test_nothing_kept_is_finite(self):
        assert torch.isfinite(Predictor(16)(torch.randn(2, 6, 16), torch.zeros(2, 6))).all()

    def test_mean_of_many_tokens_in_low_precision(self):
        x = torch.ones(1, 577, 4, dtype=torch.bfloat16)
        mean = size_weighted_mean(x, torch.ones(1, 577, dtype=torch.bfloat16))
        assert mean.float().sub(1).abs().max() < 0.01


class TestSelection:
    def test_draws_follow_the_probabilities(self):
        log_probabilities = torch.tensor([0.8, 0.2]).log().expand(1, 20_000, 2)
        draws = gumbel_keep(log_probabilities)
        assert set(draws.unique().tolist()) == {0.0, 1.0}
        assert draws.mean().item() == pytest.approx(0.8, abs=0.02)

    def test_straight_through(self):
        scores = torch.zeros(1, 50, 2, requires_grad=True)
        gumbel_keep(scores.log_softmax(-1)).sum().backward()
        assert (scores.grad[..., 0] > 0).all()
        assert (scores.grad[..., 1] < 0).all()
