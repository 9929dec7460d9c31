"""Shards: an epoch's order, its parts for processes, and a training that is killed and resumed."""

import io
import json
import tarfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from src.config import compose_config, instantiate
from src.datamodules.imagenet import ImageNet
from src.datamodules.resumable import PartSampler
from src.errors import InputError
from src.pictures.samples import images_at
from tests.test_resume import MIXUP, NETWORK, train

pytest.importorskip("webdataset")

LENGTHS = (5, 1, 4)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Uneven shards of noise; a json says of each image a label, which may be -1 for none."""
    folder = tmp_path_factory.mktemp("shards")
    rng = np.random.default_rng(0)
    names, number = [], 0
    for shard, length in enumerate(LENGTHS):
        names.append(f"a-{shard}.tar")
        with tarfile.open(folder / names[-1], "w") as file:
            for _ in range(length):
                buffer = io.BytesIO()
                pixels = rng.integers(0, 256, (24, 24, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(buffer, "PNG")
                facts = json.dumps({"kind": number - 1 if number < 9 else -1}).encode()
                parts = {"png": buffer.getvalue(), "cls": str(number).encode(), "json": facts}
                for suffix, content in parts.items():
                    member = tarfile.TarInfo(f"{number:02}.{suffix}")
                    member.size = len(content)
                    file.addfile(member, io.BytesIO(content))
                number += 1
    split = {"name": "a", "num_samples": 10, "filenames": names, "shard_lengths": LENGTHS}
    (folder / "_info.json").write_text(
        json.dumps({"splits": {"train": split, "validation": split}})
    )
    return folder


def make(root: Path, workers: int = 0, **changes: object) -> ImageNet:
    settings = compose_config(["datamodule=imagenet"], ["datamodule"])["datamodule"]
    common = {**NETWORK, "batch_size": 2, "num_workers": workers, "mixup": MIXUP, "seed": 3}
    named = {"root": str(root), "dataset": "wds/x", "num_classes": 10, "auto_augment": None}
    return instantiate(settings | common | named | changes)


@pytest.mark.slow
@pytest.mark.parametrize("kill", [3, 6])
def test_a_training_that_is_killed_within_an_epoch_resumes_exactly(root, kill, tmp_path):
    unbroken = train(tmp_path / "unbroken", make(root), None, resume=False)
    train(tmp_path / "parts", make(root), kill, resume=False)
    workers = 1 if kill == 6 else 0  # the machine that goes on may have others
    resumed = train(tmp_path / "parts", make(root, workers), None, resume=True)
    assert resumed["metrics"] == unbroken["metrics"]
    for key, value in unbroken["weights"].items():
        assert torch.equal(value, resumed["weights"][key]), key


@pytest.mark.parametrize("processes", [1, 2, 3])
def test_processes_and_stretches_share_an_epoch_without_repetition(processes, monkeypatch):
    monkeypatch.setattr(PartSampler, "WINDOW", 64)
    lengths = [30, 1, 50, 7, 12, 100]
    total = sum(lengths) // processes * processes
    orders = []
    for epoch in range(2):
        order = []
        for rank in range(processes):
            data = torch.utils.data.TensorDataset(torch.arange(sum(lengths)))
            sampler = PartSampler(data, rank, processes, lengths=lengths, seed=0)
            sampler.set_epoch(epoch)
            share = [index - epoch * sum(lengths) for index in sampler]
            assert len(share) == total // processes
            sampler.skip = 9
            assert [index - epoch * sum(lengths) for index in sampler] == share[9:]
            order += share
        assert len(set(order)) == total
        orders.append(order)
        # Files come one after another: a stretch of 64 images needs at most these many of the six.
        starts = np.cumsum([0, *lengths])
        files = [int(np.searchsorted(starts, index, side="right")) for index in order[:64]]
        assert len(set(files)) < len(lengths)
    assert orders[0] != orders[1]


def test_samples_without_a_label_are_passed_over(root):
    data = make(root, label_key="kind", mixup=None)
    data.check()
    data.setup("fit")
    seen = torch.cat([labels for _, labels in data.val_dataloader()]).tolist()
    assert seen == list(range(8))
    trained = Counter(torch.cat([labels for _, labels in data.train_dataloader()]).tolist())
    assert set(trained) == set(range(8))
    assert trained.total() == 10  # the next with a label took their places
    with pytest.raises(InputError, match="has no sort"):
        make(root, label_key="sort").val_dataset()[0]


def test_images_of_shards_are_found_by_number(root):
    data = make(root)
    images = images_at(data.val_dataset(), [9, 5])
    assert torch.equal(images[1], data.val_dataset()[5][0])
    assert data.val_dataset()[9][1] == 9


def test_an_empty_shard_and_half_a_shard_are_named(root, tmp_path):
    for name in ("_info.json", "a-0.tar", "a-1.tar", "a-2.tar"):
        (tmp_path / name).write_bytes((root / name).read_bytes())
    last = tmp_path / "a-2.tar"
    content = last.read_bytes()
    last.write_bytes(b"")
    with pytest.raises(InputError, match=r"a-2\.tar is an empty file, not a shard"):
        make(tmp_path).check()
    tarfile.open(last, "w").close()
    info = json.loads((tmp_path / "_info.json").read_text())
    for split in info["splits"].values():
        split["shard_lengths"], split["num_samples"] = [5, 1, 0], 6
    (tmp_path / "_info.json").write_text(json.dumps(info))
    with pytest.raises(InputError, match=r"a-2\.tar is a shard without images"):
        make(tmp_path).check()
    (tmp_path / "_info.json").write_bytes((root / "_info.json").read_bytes())
    last.write_bytes(content[: len(content) // 2])
    data = make(tmp_path)
    data.check()  # nothing is opened yet
    with pytest.raises(InputError, match=r"a-2\.tar cannot be read as a shard"):
        data.val_dataset()[9]
