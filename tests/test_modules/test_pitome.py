"""PiToMe against a plain transcription of its equations, token by token."""

from __future__ import annotations

import math

import pytest
import timm
import torch

from src.modules import sparsify

SMALL = {"embed_dim": 64, "num_heads": 4, "depth": 4, "img_size": 112, "num_classes": 7}


def energy(keys: list[torch.Tensor], i: int, margin: float) -> float:
    total = 0.0
    for j, other in enumerate(keys):
        if j != i:
            cosine = torch.cosine_similarity(keys[i], other, dim=0).item()
            total += cosine if cosine >= margin else math.exp(cosine - margin) - 1
    return total / len(keys)


def reference(network: torch.nn.Module, images: torch.Tensor, r: int) -> torch.Tensor:
    x = network._pos_embed(network.patch_embed(images))
    tokens, sizes = list(x[0]), [1.0] * x.shape[1]
    depth = len(network.blocks)
    for layer, block in enumerate(network.blocks):
        x = torch.stack(tokens)
        qkv = block.attn.qkv(block.norm1(x)).reshape(len(x), 3, block.attn.num_heads, -1)
        q, k, v = qkv.permute(1, 2, 0, 3)  # (H, T, D)
        logits = q @ k.transpose(1, 2) / math.sqrt(q.shape[-1]) + torch.tensor(sizes).log()
        x = x + block.attn.proj((logits.softmax(-1) @ v).transpose(0, 1).flatten(1))
        keys = list(k.mean(0)[1:])  # the class token takes no part
        margin = 0.9 - 0.9 * layer / depth
        energies = [energy(keys, i, margin) for i in range(len(keys))]
        ranked = sorted(range(len(keys)), key=energies.__getitem__, reverse=True)
        a, b = ranked[0 : 2 * r : 2], ranked[1 : 2 * r : 2]
        members = {j: [j] for j in b}
        for i in a:
            similar = [torch.cosine_similarity(keys[i], keys[j], dim=0).item() for j in b]
            members[b[max(range(len(b)), key=similar.__getitem__)]].append(i)
        groups = [[j] for j in ranked[2 * r :]] + list(members.values())
        tokens, new = [x[0]], [1.0]
        for group in groups:
            total = sum(sizes[1 + i] for i in group)
            tokens.append(sum(sizes[1 + i] * x[1 + i] for i in group) / total)
            new.append(total)
        sizes = new
        x = torch.stack(tokens)
        tokens = list(x + block.mlp(block.norm2(x)))
    return network.forward_head(network.norm(torch.stack(tokens)[None]))


@pytest.mark.parametrize("r", [1, 6])
@torch.no_grad()
def test_pitome_is_the_papers(r: int) -> None:
    network = timm.create_model("deit_tiny_patch16_224", **SMALL).eval()
    for parameter in network.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    student = sparsify(network, method="pitome", r=r).eval()
    images = torch.randn(1, 3, 112, 112)
    ours, theirs = student(images).logits, reference(network, images, r)
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)
    assert (ours - network(images)).abs().max() > 1e-3
