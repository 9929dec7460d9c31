"""A CUDA graph is refused in a sentence where there is no GPU; tests/test_gpu.py has the others."""

import pytest
import torch

from src.errors import InputError
from src.modules import graph_for_inference
from src.modules.cuda_graphs import plain_state
from tests.combinations import make_student


def test_a_graph_needs_images_on_a_gpu():
    with pytest.raises(InputError, match="these are on cpu"):
        graph_for_inference(make_student("vit", "dynamicvit"))(torch.randn(1, 3, 64, 64))


def test_another_budget_or_option_is_another_graph():
    student = make_student("vit", "tome")
    states = [plain_state([student.method])]
    student.rho = 0.9
    states.append(plain_state([student.method]))
    student.method.r = 3
    states.append(plain_state([student.method]))
    assert len(set(states)) == 3
    student.train()
    assert plain_state([student.method]) == states[-1]
