"""A CUDA graph is refused in a sentence where there is no GPU; tests/test_gpu.py has the others."""

import pytest
import torch

from src.errors import InputError
from src.modules import graph_for_inference
from tests.combinations import make_student


def test_a_graph_needs_images_on_a_gpu():
    with pytest.raises(InputError, match="these are on cpu"):
        graph_for_inference(make_student("vit", "dynamicvit"))(torch.randn(1, 3, 64, 64))
