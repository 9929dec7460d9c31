from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from src.errors import InputError
from src.modules.backbones import SparseOutput
from src.modules.backbones.base import Step
from src.modules.distances import kl_divergence
from src.modules.losses import (
    Classification,
    KeepRatio,
    LogitDistillation,
    TeacherOutput,
    TokenDistillation,
)
from src.modules.weighted_loss import WeightedLoss


def make_output(decisions=(), ratios=(), size=None):
    features = torch.randn(2, 4, 3)
    return SparseOutput(
        logits=torch.randn(2, 5),
        features=features,
        size=torch.ones(2, 4) if size is None else size,
        steps=tuple(
            Step(i, ratio, keep, keep.sum(1))
            for i, (keep, ratio) in enumerate(zip(decisions, ratios, strict=True))
        ),
    )


def make_teacher():
    return TeacherOutput(torch.randn(2, 5), torch.randn(2, 4, 3))


TARGET = torch.tensor([1, 4])


def test_hard_and_soft_labels_agree():
    output, teacher = make_output(), make_teacher()
    smoothed = F.one_hot(TARGET, 5) * 0.9 + 0.1 / 5
    hard = Classification(smoothing=0.1)(output, teacher, TARGET)
    soft = Classification(smoothing=0.1)(output, teacher, smoothed)
    torch.testing.assert_close(hard, soft)


def test_keep_ratio_per_image_and_of_the_batch():
    decision = torch.tensor([[1.0, 1, 1, 0], [0.0, 0, 1, 0]])  # shares .75 and .25
    output = make_output([decision], [0.5])
    per_image = KeepRatio()(output, make_teacher(), TARGET)
    of_batch = KeepRatio(batch_mean=True)(output, make_teacher(), TARGET)
    assert per_image.item() == pytest.approx(0.25**2)
    assert of_batch.item() == pytest.approx(0)


def test_keep_ratio_is_a_mean_over_locations():
    ones = torch.ones(2, 4)
    value = KeepRatio()(make_output([ones, ones], [0.5, 1.0]), make_teacher(), TARGET)
    assert value.item() == pytest.approx(0.25 / 2)


def test_logit_distillation_is_the_textbook_divergence():
    output, teacher = make_output(), make_teacher()
    p, q = teacher.logits.softmax(-1), output.logits.softmax(-1)
    expected = (p * (p / q).log()).sum() / 2
    torch.testing.assert_close(LogitDistillation()(output, teacher, TARGET), expected)


@pytest.mark.parametrize(
    ("teacher", "student"),
    [
        ([50.0, 0.0, -60.0], [0.0, 0.0, 0.0]),
        ([200.0, 0.0, -200.0], [-200.0, 0.0, 200.0]),
        ([1.0, 2.0, 3.0], [1.01, 2.0, 3.0]),
    ],
)
def test_divergence_near_and_far(teacher, student):
    values = [torch.tensor(teacher).double(), torch.tensor(student).double()]
    log_p, log_q = (each.log_softmax(-1) for each in values)
    far = torch.tensor(student, requires_grad=True)
    divergence = kl_divergence(torch.tensor(teacher), far)
    divergence.backward()
    expected = F.kl_div(log_q, log_p, log_target=True, reduction="sum").float()
    torch.testing.assert_close(divergence, expected, rtol=1e-4, atol=1e-8)
    gradient = (log_q.exp() - log_p.exp()).float()
    torch.testing.assert_close(far.grad, gradient, rtol=1e-4, atol=1e-6)


def test_token_distillation_counts_kept_patches_only():
    size = torch.tensor([[1.0, 0, 0, 1], [0.0, 0, 1, 0]])
    output, teacher = make_output(size=size), make_teacher()
    kept = size.bool()
    expected = (output.features[kept] - teacher.features[kept]).square().mean()
    torch.testing.assert_close(TokenDistillation()(output, teacher, TARGET), expected)
    nothing = make_output(size=torch.zeros(2, 4))
    assert TokenDistillation()(nothing, teacher, TARGET).item() == 0


def test_weights():
    output, teacher = make_output(), make_teacher()
    terms = {"a": Classification(), "b": LogitDistillation(), "c": TokenDistillation()}
    loss = WeightedLoss(terms, {"a": 1.0, "b": 0.5, "c": 0})
    total, values = loss(output, teacher, TARGET)
    assert values.keys() == {"a", "b"}
    torch.testing.assert_close(total, values["a"] + 0.5 * values["b"])
    assert loss.needs_teacher
    assert not WeightedLoss(terms, {"a": 1.0, "b": 0, "c": 0}).needs_teacher
    with pytest.raises(InputError, match=r"loss\.a\.weight=-1"):
        WeightedLoss(terms, {"a": -1, "b": 0, "c": 0})
    with pytest.raises(InputError, match="Every loss weight is 0"):
        WeightedLoss(terms, {"a": 0, "b": 0, "c": 0})


def test_token_distillation_compares_a_merged_token_with_the_mean_of_its_patches():
    output, teacher = make_output(), make_teacher()
    features = torch.randn(2, 3, output.features.shape[-1])
    source = torch.tensor([[0, 0, 1, -1], [2, 2, 2, 0]])  # token 1 of the second stands for none
    merged = replace(output, features=features, size=torch.ones(2, 3), source=source)
    distances = [
        (features[image, token] - teacher.features[image, source[image] == token].mean(0))
        for image, token in ((0, 0), (0, 1), (1, 0), (1, 2))
    ]
    expected = torch.stack(distances).square().mean()
    torch.testing.assert_close(TokenDistillation()(merged, teacher, TARGET), expected)
