"""BEiT: relative positions, shared or each block's own, stay with their tokens."""

import pytest
import torch

from src.errors import InputError
from src.modules import sparsify
from src.modules.networks.create import build_network
from tests.families import SequenceFamily, make_images, make_network

SMALL = {"embed_dim": 64, "num_heads": 4, "depth": 4, "img_size": 64, "num_classes": 5}
SHARED = {"use_rel_pos_bias": False, "use_shared_rel_pos_bias": True}
CASES = {
    "beit": ("beit_base_patch16_224", SMALL),
    "beit_v2": ("beitv2_base_patch16_224", SMALL),
    "rectangular": ("beit_base_patch16_224", SMALL | {"img_size": (48, 80)}),
    "shared": ("beit_base_patch16_224", SMALL | SHARED),
    "both": ("beit_base_patch16_224", SMALL | SHARED | {"use_rel_pos_bias": True}),
    "neither": ("beit_base_patch16_224", SMALL | {"use_rel_pos_bias": False}),
    "class_token": (
        "beit_base_patch16_224",
        SMALL | {"global_pool": "token", "use_abs_pos_emb": True, "init_values": None},
    ),
}


class TestBeit(SequenceFamily):
    cases = CASES


@torch.no_grad()
def test_removed_tokens_are_as_if_never_there():
    """Timm's own blocks on the kept rows, with the kept rows and columns of each bias."""
    student = sparsify(make_network(CASES["beit"]), ratios=[0.5], locations=[2]).eval()
    network, images = student.backbone, make_images(student, 1)
    output = student(images)
    x = torch.cat([network.cls_token, network.patch_embed(images)], dim=1)
    for number, block in enumerate(network.blocks):
        if number == 2:
            scores = student.method.selector.predictors[0](x[:, 1:])
            best = scores[..., 0].topk(8).indices[0]
            rows = torch.cat([torch.zeros(1, dtype=torch.long), best + 1])
            x = x[:, rows]
        if number >= 2:
            bias = block.attn._get_rel_pos_bias()[:, :, rows][..., rows]
            block.attn._get_rel_pos_bias = lambda bias=bias: bias
        x = block(x)
    torch.testing.assert_close(output.logits, network.forward_head(network.norm(x)))


def test_images_of_any_size_are_refused():
    with pytest.raises(InputError, match="Beit takes images of one size alone"):
        build_network({"network": "beit_base_patch16_224"}, 5, False, any_size=True)
