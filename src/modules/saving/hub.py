"""Uploads students to the Hugging Face Hub with a model card, and downloads them."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import huggingface_hub

from ...errors import InputError, one_sentence
from .write import save

if TYPE_CHECKING:
    from ..backbones.base import SparseBackbone
    from ..heads.base import Head

FILE = "student.safetensors"
_SCHEME = "hf-hub:"
_TAGS = {
    "classification": "image-classification",
    "segmentation": "image-segmentation",
    "detection": "object-detection",
    "embedding": "image-feature-extraction",
    "video": "video-classification",
}


def push(
    student: SparseBackbone,
    repo_id: str,
    *,
    head: Head | None = None,
    network_options: Mapping[str, object] | None = None,
    license: str | None = None,
    private: bool | None = None,
    commit_message: str = "Upload a tokenthrift student",
    token: str | None = None,
) -> str:
    """Upload a student, with its `head` if there is one; see `Described.push_to_hub`."""
    with tempfile.TemporaryDirectory() as folder:
        save(student, Path(folder) / FILE, head, network_options)
        card = model_card(student, repo_id, head, license)
        (Path(folder) / "README.md").write_text(card, "utf-8")
        try:
            address = huggingface_hub.create_repo(
                repo_id, token=token, private=private, exist_ok=True
            )
            huggingface_hub.upload_folder(
                repo_id=repo_id, folder_path=folder, commit_message=commit_message, token=token
            )
        except Exception as error:  # the client, the network and the hub raise many kinds
            raise _refused(repo_id, "cannot be uploaded to", error) from error
    return str(address)


def is_address(path: str | Path) -> bool:
    """Return whether `path` names a repository on the hub instead of a file."""
    return str(path).startswith(_SCHEME)


def download(address: str) -> Path:
    """Return the local copy of the student at `hf-hub:user/name` or `hf-hub:user/name@revision`.

    Raises:
        InputError: If it cannot be downloaded.
    """
    repo_id, _, revision = address.removeprefix(_SCHEME).partition("@")
    try:
        return Path(huggingface_hub.hf_hub_download(repo_id, FILE, revision=revision or None))
    except Exception as error:  # the client, the network and the hub raise many kinds
        raise _refused(repo_id, "cannot be downloaded from", error) from error


def _refused(repo_id: str, what: str, error: Exception) -> InputError:
    reason = one_sentence(str(error) or type(error).__name__)
    return InputError(f"The student {what} the repository {repo_id}: {reason}")


def model_card(
    student: SparseBackbone, repo_id: str, head: Head | None, license: str | None
) -> str:
    """Return the README.md of a repository: what the student is, its numbers, how to use it."""
    task = student.task if head is None else head.task
    facts = _facts(student, head)
    rows = [*facts.items(), *((name, f"{value:.6g}") for name, value in student.metrics.items())]
    lines = [
        "---",
        "library_name: tokenthrift",
        f"pipeline_tag: {_TAGS.get(task, 'image-classification')}",
        *([f"license: {license}"] if license else []),
        "tags: [token-pruning, efficient-vision, tokenthrift]",
        "---",
        f"# {repo_id}",
        "",
        f"A {facts['network']} for {task} that keeps part of its tokens, saved by tokenthrift.",
        "",
        "| | |",
        "|---|---|",
        *(f"| {name} | {_cell(value)} |" for name, value in rows),
        "",
        "Metrics in percent are of the validation data of whoever saved this student; GMACs are "
        "multiply-accumulates of one image at inference over 1e9; speeds hold for the machine, "
        "the precision and the batch size that they were measured with.",
        "" if license else "\nNo license has been chosen yet: ask the owner of this repository.",
        "",
        "```python",
        "import tokenthrift",
        "from PIL import Image",
        "",
        f'student = tokenthrift.load("{_SCHEME}{repo_id}")',
        *_usage(head),
        "```",
        "",
    ]
    return "\n".join(lines)


def _facts(student: SparseBackbone, head: Head | None) -> dict[str, object]:
    """Return the facts of the card's table, by the names that it gives them."""
    schedule, ready = student.method.schedule, student.preprocessing
    kept = ", ".join(f"{ratio:.3g}" for ratio in schedule.ratios) or "all"
    names = student.class_names or ()
    facts: dict[str, object] = {
        "network": student.pretrained_cfg.get("architecture") or type(student.backbone).__name__,
        "method": student.method.name,
        "keep ratios": f"{kept} at blocks {', '.join(map(str, schedule.locations)) or 'none'}",
        "classes": len(names) or (head or student).num_classes,
        "input": f"{ready.size[1]}x{ready.size[0]} px, {ready.interpolation}, "
        f"{ready.crop_mode} crop of {ready.crop_pct:g}, mean {list(ready.mean)}, "
        f"std {list(ready.std)}",
    }
    if names:
        more = f" and {len(names) - 20} more" if len(names) > 20 else ""
        facts["class names"] = ", ".join(names[:20]) + more
    return facts


def _usage(head: Head | None) -> list[str]:
    if head is not None:
        return ["output = student(images)  # (B, 3, H, W), normalized as above"]
    return [
        'image = Image.open("photo.jpg").convert("RGB")',
        "logits = student.predict(student.preprocessing.transform()(image)[None])",
    ]


def _cell(value: object) -> str:
    return str(value).replace("|", "\\|").replace("\n", " ")
