"""Eva networks: norms behind blocks, shared keys, rotary positions by block, merged tokens."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from src.modules import sparsify
from src.modules.backbones import SparseBackbone
from src.modules.backbones.eva import SparseEva
from src.modules.layers.tokens import Tokens
from tests.families import (
    SequenceFamily,
    assert_near,
    make_images,
    make_network,
    timm_is_older_than,
)

SMALL = {"embed_dim": 64, "num_heads": 4, "depth": 4, "img_size": 64, "num_classes": 5}


class TestEva(SequenceFamily):
    cases = {
        "norm_of_output": (
            "eva02_tiny_patch14_224",
            SMALL | {"use_post_norm": True, "patch_size": 16},
        ),
        "mixed": ("vit_small_patch16_rope_mixed_224", SMALL),
        "mixed_any_size": (
            "vit_small_patch16_rope_mixed_ape_224",
            SMALL | {"img_size": (48, 80), "dynamic_img_size": True},
        ),
    }
    if not timm_is_older_than("1.0.31"):
        cases["grouped_queries"] = (
            "vit_small_patch16_dinov3",
            SMALL | {"num_kv_heads": 2, "attn_type": "rope", "qkv_fused": False},
        )


@pytest.mark.parametrize("name", ["rope", "rope_mixed"])
@torch.no_grad()
def test_merged_tokens_count_as_their_members(name: str) -> None:
    """Equal tokens at one place, merged, weigh in attention what they weighed apart."""
    network = make_network((f"vit_small_patch16_{name}_224", SMALL))
    student = sparsify(network, method="dense").eval()
    tokens = student.enter(make_images(student, 1))
    twice = tokens.select(torch.tensor([[0, 1, 1, 1, 2]]))
    merged = twice.merge(torch.tensor([[0, 1, 1, 1, 2]]), 3)
    apart, together = (student.classify(walked(student, each))[0] for each in (twice, merged))
    assert_near(together, apart)
    moved = replace(merged, data={key: each.roll(1, 1) for key, each in merged.data.items()})
    assert (student.classify(walked(student, moved))[0] - apart).abs().max() > 1e-3


def walked(student: SparseBackbone, tokens: Tokens) -> Tokens:
    assert isinstance(student, SparseEva)
    for layer, block in enumerate(student.blocks()):
        tokens, moved = student.run_block(layer, block, tokens, student.method)
        tokens = tokens.with_x(tokens.x + moved)
    return tokens
