"""Students travel to the hub and back with a card that states what is known of them."""

from __future__ import annotations

import shutil
from pathlib import Path

import huggingface_hub
import pytest
import torch

from src import create_student, load
from src.errors import InputError
from src.modules.backbones import SparseBackbone


@pytest.fixture
def student() -> SparseBackbone:
    made = create_student("vit_micro", rho=0.5, method="tome", num_classes=3)
    made.class_names = ("cat", "dog|wolf", "fish")
    made.metrics = {"acc1": 93.5, "gmacs": 0.0625, "images_per_s": 120.0}
    return made.eval()


@pytest.fixture
def hub(tmp_path, monkeypatch) -> Path:
    """A folder that stands for the hub."""
    folder = tmp_path / "hub"

    def create_repo(repo_id: str, **options: object) -> str:
        assert options == {"token": None, "private": True, "exist_ok": True}
        return f"https://huggingface.co/{repo_id}"

    def upload_folder(*, repo_id: str, folder_path: str, **_: object) -> None:
        shutil.copytree(folder_path, folder / repo_id)

    def hf_hub_download(repo_id: str, name: str, revision: str | None = None) -> str:
        assert revision in (None, "v1")
        return str(folder / repo_id / name)

    for function in (create_repo, upload_folder, hf_hub_download):
        monkeypatch.setattr(huggingface_hub, function.__name__, function)
    return folder


def test_a_student_travels_with_its_card(student, hub):
    address = student.push_to_hub("user/name", private=True, license="mit")
    assert address == "https://huggingface.co/user/name"
    card = (hub / "user" / "name" / "README.md").read_text()
    for part in ("license: mit", "| acc1 | 93.5 |", "| gmacs | 0.0625 |", "dog\\|wolf", "ToMe"):
        assert part in card
    assert 'tokenthrift.load("hf-hub:user/name")' in card
    assert "pipeline_tag: image-classification" in card
    images = torch.randn(1, 3, 80, 80)
    for name in ("hf-hub:user/name", "hf-hub:user/name@v1"):
        again = load(name)
        assert torch.equal(again.predict(images), student.predict(images))
        assert again.class_names == student.class_names


def test_no_license_is_chosen_for_somebody(student, hub):
    student.push_to_hub("user/name", private=True)
    card = (hub / "user" / "name" / "README.md").read_text()
    assert "license:" not in card
    assert "No license has been chosen yet" in card


def test_the_hub_refuses_in_one_sentence(student, monkeypatch):
    def refuses(*_: object, **__: object) -> None:
        raise RuntimeError("401 Client Error.\n\nInvalid username or password.")

    monkeypatch.setattr(huggingface_hub, "create_repo", refuses)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", refuses)
    with pytest.raises(InputError, match="cannot be uploaded to the repository user/name: 401"):
        student.push_to_hub("user/name")
    with pytest.raises(InputError, match="cannot be downloaded from the repository user/name: 401"):
        load("hf-hub:user/name")
