"""The survey of timm says what `sparsify` takes and why it refuses the rest."""

import csv

import pytest
import timm
import torch

from src.bench import coverage
from src.errors import InputError
from src.modules.backbones.vit import SparseViT


def test_a_survey_counts_tags_and_keeps_reasons(tmp_path, monkeypatch, capsys):
    known = {
        "deit": {"deit_tiny_patch16_224": 2},
        "convnext": {"convnext_atto": 3, "convnextv2_atto": 4},
        "tnt": {"tnt_s_legacy_patch16_224": 1},
    }
    monkeypatch.setattr(coverage, "transformers", lambda: known)
    coverage.main(["--out", str(tmp_path)])
    page = (tmp_path / "coverage.md").read_text()
    assert page == capsys.readouterr().out
    lines = page.splitlines()
    assert lines[2].startswith("| convnext | 2 | 7 | 3 | ConvNeXt blocks with ")
    assert lines[3] == "| deit | 1 | 2 | 2 |  |"
    assert lines[4] == "| tnt | 1 | 1 | 0 | TNT is not a network that can be sparsified (1) |"
    assert "5 of 10 pretrained tags of transformers (50%; 4 architectures)" in lines[-1]
    with (tmp_path / "coverage.csv").open() as file:
        rows = {row["name"]: row for row in csv.DictReader(file)}
    assert rows["deit_tiny_patch16_224"]["refusal"] == ""
    assert rows["convnextv2_atto"]["refusal"].endswith("give a ConvNeXt of the first version.")


def test_what_refuses_in_its_first_step_is_refused(monkeypatch):
    def refuse(self, tokens):
        raise InputError("Not in training.") if self.training else AssertionError

    monkeypatch.setattr(SparseViT, "classify", refuse)
    with torch.device("meta"):
        network = timm.create_model("deit_tiny_patch16_224", depth=4)
    assert coverage.refusal_of(network, set()) == "Not in training."


def test_transformers_are_all_but_convolutional_modules():
    found = coverage.transformers()
    assert found["deit"]["deit_tiny_patch16_224"] >= 1
    assert {"vision_transformer", "eva", "swin_transformer", "convnext"} <= found.keys()
    assert not found.keys() & coverage.CONVOLUTIONAL
    tags = sum(sum(names.values()) for names in found.values())
    assert tags < len(timm.list_models(pretrained=True))


def test_an_unknown_module_is_refused():
    with pytest.raises(InputError, match="--modules vit is not a file of"):
        coverage.main(["--modules", "vit"])
