"""The teacher: dense and frozen, and nearly the same where it is made cheaper."""

import pytest
import timm
import torch

from src.errors import InputError
from src.modules import sparsify
from src.modules.teacher import Teacher


@pytest.fixture
def student():
    torch.manual_seed(0)
    options = {"embed_dim": 64, "num_heads": 4, "depth": 4, "img_size": 64, "num_classes": 7}
    network = timm.create_model("deit_tiny_patch16_224", **options)
    return sparsify(network, rho=0.5)


def test_a_teacher_in_bf16_says_nearly_the_same(student):
    images = torch.randn(2, 3, 64, 64)
    exact = Teacher(student)(images)
    cheaper = Teacher(student, precision="bf16")(images)
    torch.testing.assert_close(exact.logits, student.backbone.eval()(images).detach())
    assert cheaper.logits.dtype == torch.bfloat16
    assert not cheaper.features.requires_grad
    atol = 0.03 * float(exact.logits.abs().max())
    torch.testing.assert_close(cheaper.logits.float(), exact.logits, atol=atol, rtol=0)


def test_an_unknown_precision_is_told(student):
    with pytest.raises(InputError, match=r"teacher.precision=int8 is not null, bf16 or fp16"):
        Teacher(student, precision="int8")
