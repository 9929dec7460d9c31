"""Damaged checkpoints: refused in a sentence, or harmless; nothing else ever comes of them."""

import copy
import os
import random
import warnings
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from src.checkpoints.checkpoint import Checkpoint, newest_checkpoint
from src.checkpoints.reading import read_file
from src.errors import InputError
from src.modules import create_student, load_weights
from src.runs.resuming import check_resumable

pytestmark = pytest.mark.slow

SEEDS = range(40)  # of each format


@pytest.fixture(scope="module")
def student():
    return create_student("vit_micro")


@pytest.fixture(scope="module")
def originals(student, tmp_path_factory) -> dict[str, bytes]:
    """A training's checkpoint, the same in PyTorch's older format, and weights alone."""
    folder = tmp_path_factory.mktemp("whole")
    weights = student.state_dict()
    progress = {"epoch_progress": {"current": {"processed": 1}}}
    training = {
        "state_dict": {f"student.{name}": value for name, value in weights.items()},
        "optimizer_states": [{"state": {0: {"step": torch.tensor(3.0)}}}],
        "loops": {"fit_loop": progress},
        "callbacks": {"ModelCheckpoint": {"best_model_path": "best.ckpt", "best_k_models": {}}},
    }
    torch.save(training, folder / "new.ckpt")
    torch.save(training, folder / "old.pth", _use_new_zipfile_serialization=False)
    save_file(weights, folder / "weights.safetensors")
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def mutated(whole: bytes, rng: random.Random) -> bytes:
    """Half of the changes hit the first and last kilobytes, where the structure stands."""
    content = bytearray(whole)
    edges = [*range(4096), *range(len(content) - 4096, len(content))]

    def place() -> int:
        return rng.choice(edges) if rng.random() < 0.5 else rng.randrange(len(content))

    kind = rng.choice(["cut", "flip", "swap", "zero", "repeat", "noise"])
    if kind == "cut":
        return bytes(content[: place()])
    if kind == "repeat":
        start = place()
        return bytes(content[:start] + content[start // 2 :])
    for _ in range(rng.choice([1, 1, 1, 8])):
        at = place()
        if kind == "flip":
            content[at] ^= 1 << rng.randrange(8)
        elif kind == "swap":
            other = place()
            content[at], content[other] = content[other], content[at]
        else:
            size = rng.choice([1, 16, 4096])
            size = min(size, len(content) - at)
            content[at : at + size] = bytes(size) if kind == "zero" else rng.randbytes(size)
    return bytes(content)


def outcome(call, *arguments) -> str:
    """What came of it; any other exception than ours is let through."""
    try:
        call(*arguments)
    except InputError as error:
        sentence = str(error)
        assert "\n" not in sentence
        assert sentence.endswith(".")
        return "refused"
    return "read"


def resume(student, path):
    check_resumable(student, Checkpoint.read(path), 5)


@pytest.mark.parametrize("name", ["new.ckpt", "old.pth", "weights.safetensors"])
def test_a_damaged_file_is_refused_or_harmless(name, originals, student, tmp_path):
    path = tmp_path / name
    shapes = {key: value.shape for key, value in student.state_dict().items()}
    outcomes = []
    for seed in SEEDS:
        path.write_bytes(mutated(originals[name], random.Random(seed)))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            loaded = copy.deepcopy(student)
            outcomes += [outcome(read_file, path), outcome(load_weights, loaded, path)]
            outcome(resume, loaded, path)
        for key, value in loaded.state_dict().items():
            assert value.shape == shapes[key]
            assert torch.isfinite(value).all()
    assert outcomes.count("refused") >= len(SEEDS) // 2, "mutations do not bite"


def test_whole_files_pass(originals, student, tmp_path):
    for name, content in originals.items():
        (tmp_path / name).write_bytes(content)
        load_weights(student, tmp_path / name)
    check_resumable(student, Checkpoint.read(tmp_path / "new.ckpt"), 5)
    check_resumable(student, Checkpoint.read(tmp_path / "old.pth"), 5)


def test_any_flipped_bit_of_a_checkpoints_tensors_is_noticed(originals, tmp_path):
    path, content = tmp_path / "flipped.ckpt", bytearray(originals["new.ckpt"])
    for at in range(len(content) // 4, 3 * len(content) // 4, len(content) // 10):
        content[at] ^= 4
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"damaged|not a whole"):
            read_file(path)
        content[at] ^= 4


class Evil:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self):
        return Path.touch, (self.marker,)


def test_the_newest_checkpoint_is_looked_for_among_good_ones(originals, tmp_path, caplog):
    (tmp_path / "good.ckpt").write_bytes(originals["new.ckpt"])
    torch.save({"state_dict": Evil(tmp_path / "marker")}, tmp_path / "last.ckpt")
    os.utime(tmp_path / "good.ckpt", (0, 0))  # a clock's tick may hold both
    assert newest_checkpoint(tmp_path).path == tmp_path / "good.ckpt"
    assert "last.ckpt is refused" in caplog.text
    assert not (tmp_path / "marker").exists()
