"""Twins of transformers' models agree with them, and run sparse."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn

from src.errors import InputError
from src.modules.huggingface.twin import is_of_transformers, timm_twin
from src.modules.student import sparsify

transformers: Any = pytest.importorskip("transformers")
PLAIN = {
    "hidden_size": 32,
    "num_hidden_layers": 4,
    "num_attention_heads": 2,
    "intermediate_size": 84,
    "image_size": 48,
    "patch_size": 8,
}


def pooled(output: Any) -> Tensor:
    return output.pooler_output


def logits(output: Any) -> Tensor:
    return output.logits


def class_token(output: Any) -> Tensor:
    return output.last_hidden_state[:, 0]


def projected(output: Any) -> Tensor:
    return output.image_embeds


CASES: dict[str, tuple[str, dict[str, Any], Callable[[Any], Tensor]]] = {
    "ViTModel": ("ViTConfig", {}, class_token),
    "ViTForImageClassification": ("ViTConfig", {"num_labels": 5, "qkv_bias": False}, logits),
    "DeiTModel": ("DeiTConfig", {}, class_token),
    "DeiTForImageClassification": ("DeiTConfig", {"num_labels": 5}, logits),
    "DeiTForImageClassificationWithTeacher": ("DeiTConfig", {"num_labels": 5}, logits),
    "Dinov2Model": ("Dinov2Config", {}, pooled),
    "Dinov2WithRegistersModel": (
        "Dinov2WithRegistersConfig",
        {"num_register_tokens": 3, "use_swiglu_ffn": True},
        pooled,
    ),
    "SiglipVisionModel": ("SiglipVisionConfig", {}, pooled),
    "CLIPVisionModel": ("CLIPVisionConfig", {}, pooled),
    "CLIPVisionModelWithProjection": ("CLIPVisionConfig", {"projection_dim": 12}, projected),
}


def made(name: str) -> tuple[nn.Module, Callable[[Any], Tensor]]:
    """A model with random weights: biases, norms and scales too, which start as 0 or 1."""
    torch.manual_seed(0)
    config, options, read = CASES[name]
    model = getattr(transformers, name)(getattr(transformers, config)(**PLAIN | options)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.2 * torch.randn_like(parameter)
    return model, read


def largest(found: Tensor, asked: Tensor) -> float:
    assert found.shape == asked.shape
    return float((found - asked).abs().max() / asked.abs().max())


@pytest.mark.parametrize("name", CASES)
@torch.no_grad()
def test_twins_agree_and_run_sparse(name: str) -> None:
    model, read = made(name)
    images = torch.randn(2, 3, 48, 48)
    asked = read(model(images))
    assert largest(sparsify(model, rho=1).eval()(images).logits, asked) < 1e-5
    student = sparsify(model, rho=0.7, method="evit" if student_fuses(name) else "query_absorb")
    sparse = student.eval().predict(images)
    assert sparse.isfinite().all()
    assert largest(sparse, asked) > 1e-3  # tokens were dropped
    assert student.backbone.pretrained_cfg["mean"]


def student_fuses(name: str) -> bool:
    return not name.startswith("Siglip")  # EViT reads the class token's attention


@pytest.mark.parametrize("name", CASES)
@torch.no_grad()
def test_another_size_is_interpolated_as_by_the_model(name: str) -> None:
    model, read = made(name)
    images = torch.randn(1, 3, 64, 64)
    dinov2 = name.startswith("Dinov2")  # interpolates without being asked
    output = model(images) if dinov2 else model(images, interpolate_pos_encoding=True)
    assert largest(timm_twin(model, image_size=64)(images), read(output)) < 1e-5
    with pytest.raises(InputError, match=r"image_size=50 is not a multiple of the patch size 8"):
        timm_twin(model, image_size=50)


@torch.no_grad()
def test_models_of_two_towers_give_the_one_of_images() -> None:
    text = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    text |= {"intermediate_size": 32, "vocab_size": 50, "projection_size": 32}
    images = torch.randn(2, 3, 48, 48)
    for kind, options in (("Siglip", {}), ("CLIP", {"projection_dim": 12})):
        config = getattr(transformers, f"{kind}Config")(
            text_config=text, vision_config=PLAIN, **options
        )
        model = getattr(transformers, f"{kind}Model")(config).eval()
        found = model.get_image_features(images)
        asked = found if isinstance(found, Tensor) else found.pooler_output
        assert largest(timm_twin(model)(images), asked) < 1e-5


def test_precision_and_mode_are_the_models() -> None:
    model, _ = made("ViTModel")
    twin = timm_twin(model.half().train())
    assert twin.training
    assert {parameter.dtype for parameter in twin.parameters()} == {torch.float16}
    twin.cls_token.data += 1
    assert model.embeddings.cls_token.abs().max() < twin.cls_token.abs().max()  # a copy


def test_others_are_refused() -> None:
    config = transformers.Dinov2Config(**PLAIN, num_labels=3)
    with pytest.raises(InputError, match=r"Dinov2ForImageClassification has no twin .* ViTModel"):
        sparsify(transformers.Dinov2ForImageClassification(config))
    config = transformers.ViTConfig(**PLAIN, hidden_act="gelu_10")
    with pytest.raises(InputError, match=r"hidden_act=gelu_10 is not one of gelu"):
        sparsify(transformers.ViTModel(config))
    config = transformers.SiglipVisionConfig(**PLAIN, vision_use_head=False)
    with pytest.raises(InputError, match=r"vision_use_head=False"):
        sparsify(transformers.SiglipVisionModel(config))
    model = transformers.ViTModel(transformers.ViTConfig(**PLAIN))
    model.layernorm.register_parameter("scale", nn.Parameter(torch.ones(1)))
    with pytest.raises(InputError, match=r"\(norm\.scale is missing or left over\): use one from"):
        sparsify(model)
    assert not is_of_transformers(timm.create_model("vit_tiny_patch16_224", depth=1))


@pytest.mark.slow
def test_nothing_imports_transformers() -> None:
    code = "import sys, src.modules.huggingface.twin as t; t._makers(); "
    code += "assert 'transformers' not in sys.modules"
    root = Path(__file__).parents[2]
    subprocess.run([sys.executable, "-c", code], cwd=root, check=True)
