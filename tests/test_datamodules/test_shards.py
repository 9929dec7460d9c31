"""Shards: each image once, decoded as any other, and nothing in them or their lists is run."""

import io
import json
import logging
import os
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from src.config import compose_config, instantiate
from src.datamodules.imagenet import ImageNet
from src.datamodules.shard_samples import samples_of
from src.errors import InputError
from src.pictures.samples import numbered_images, spread_images

pytest.importorskip("webdataset")


def encoded(value: int, kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (40, 40), (value, value, value)).save(buffer, kind)
    return buffer.getvalue()


def write_shard(path: Path, members: dict[str, bytes]) -> None:
    with tarfile.open(path, "w") as shard:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            shard.addfile(member, io.BytesIO(content))


def plain(number: int, label: object = None) -> dict[str, bytes]:
    shown = number if label is None else label
    return {f"{number:03}.png": encoded(number), f"{number:03}.cls": str(shown).encode()}


def write(root: Path, *shards: dict[str, bytes], listed: int | None = None, **info: object) -> Path:
    """Both splits of the same shards, with a list as timm reads it."""
    root.mkdir(parents=True, exist_ok=True)
    splits = {}
    for split in ("train", "validation"):
        names = [f"{split}-{number}.tar" for number in range(len(shards))]
        for name, members in zip(names, shards, strict=True):
            write_shard(root / name, members)
        keys = [{name.partition(".")[0] for name in members} for members in shards]
        count = sum(map(len, keys)) if listed is None else listed
        facts = {"filenames": names, "shard_lengths": [len(one) for one in keys]}
        splits[split] = {"name": split, "num_samples": count, **facts} | info
    (root / "_info.json").write_text(json.dumps({"splits": splits}))
    return root


def make(root: object, **changes: object) -> ImageNet:
    settings = compose_config(["datamodule=imagenet", "backbone=vit_micro"], ["datamodule"])
    small = {"root": str(root), "dataset": "wds/x", "batch_size": 2, "num_workers": 0}
    return instantiate(settings["datamodule"] | small | {"mixup": None} | changes)


def read(data: ImageNet, *, training: bool = False) -> list[int]:
    """Check, and the labels of a pass."""
    data.check()
    data.setup("fit")
    loader = data.train_dataloader() if training else data.val_dataloader()
    return torch.cat([labels for _, labels in loader]).tolist()


def refusal(data: ImageNet, *, training: bool = False) -> str:
    with pytest.raises(InputError) as caught:
        read(data, training=training)
    (sentence,) = caught.value.sentences
    assert ". " not in sentence.replace("0. ", "")
    return sentence


def two_shards(first: int = 5, second: int = 4) -> list[dict[str, bytes]]:
    members: list[dict[str, bytes]] = [{}, {}]
    for number in range(first + second):
        members[number >= first] |= plain(number)
    return members


# --- each image once, in order


@pytest.mark.parametrize("num_workers", [0, 2])
def test_validation_has_the_order_of_the_shards(tmp_path: Path, num_workers: int) -> None:
    write(tmp_path, *two_shards())
    data = make(tmp_path, num_workers=num_workers)
    assert read(data) == list(range(9))
    images = torch.cat([images for images, _ in data.val_dataloader()])
    mean, std = (torch.tensor(one)[0] for one in data.normalization)
    shown = ((images[:, 0, 9, 9] * std + mean) * 255).round().tolist()
    assert shown == list(range(9))  # each image beside its own label


@pytest.mark.parametrize("num_workers", [0, 2])
def test_training_sees_each_image_once_and_shuffled(tmp_path: Path, num_workers: int) -> None:
    single = {name: content for number in range(40) for name, content in plain(number).items()}
    write(tmp_path, single)
    data = make(tmp_path, num_workers=num_workers)
    first = read(data, training=True)
    again = read(make(tmp_path, num_workers=num_workers), training=True)
    other = read(make(tmp_path, num_workers=num_workers, seed=1), training=True)
    assert sorted(first) == list(range(40))
    assert first == again
    assert first != other
    assert first != list(range(40))


def test_every_pass_has_another_order(tmp_path: Path) -> None:
    write(tmp_path, *two_shards(20, 20))
    data = make(tmp_path)
    data.setup("fit")
    loader = data.train_dataloader()
    orders = []
    for epoch in range(2):
        loader.sampler.set_epoch(epoch)  # type: ignore[attr-defined]
        orders.append(torch.cat([y for _, y in loader]).tolist())
    first, second = orders
    assert sorted(first) == sorted(second) == list(range(40))
    assert first != second


def test_pictures_and_numbers_of_a_stream(tmp_path: Path) -> None:
    """What `eval.py` and the default callbacks ask of validation images."""
    write(tmp_path, *two_shards())
    data = make(tmp_path)
    data.check()
    dataset = data.val_dataset()
    images = [image for image, _ in dataset]  # type: ignore[attr-defined]
    assert torch.equal(spread_images(dataset, 4), torch.stack([images[i] for i in (0, 2, 4, 6)]))
    assert torch.equal(numbered_images(data, [7, 0]), torch.stack([images[7], images[0]]))
    with pytest.raises(InputError, match="from 0 to 8"):
        numbered_images(data, [9])


def test_other_keys(tmp_path: Path) -> None:
    jsons = {
        f"{i}.{suffix}": content
        for i in range(3)
        for suffix, content in (
            ("picture", encoded(i)),
            ("json", json.dumps({"kind": 2 - i}).encode()),
        )
    }
    write(tmp_path, jsons)
    data = make(tmp_path, image_key="picture", label_key="kind")
    assert read(data) == [2, 1, 0]
    assert "has no label (.cls)" in refusal(make(tmp_path, image_key="picture"))
    assert "has no image" in refusal(make(tmp_path, label_key="kind"))
    assert "has no sort" in refusal(make(tmp_path, image_key="picture", label_key="sort"))


def test_a_split_by_the_names_of_its_shards(tmp_path: Path) -> None:
    write(tmp_path, *two_shards())
    (tmp_path / "_info.json").unlink()
    names = {"train_split": "train-{0..1}.tar", "val_split": "validation-{0..1}.tar"}
    assert read(make(tmp_path, **names)) == list(range(9))
    bomb = names | {"val_split": "a-{0..99999}{0..99999}.tar"}
    assert "more than 1,000,000 shards" in refusal(make(tmp_path, **bomb))


def test_what_a_mac_packs_beside_each_file_is_no_sample(tmp_path: Path) -> None:
    write(tmp_path, {"._000.png": b"Mac OS X", **plain(0), "__note__": b"x", **plain(1)}, listed=2)
    assert read(make(tmp_path)) == [0, 1]


# --- images


@pytest.mark.parametrize(
    "content",
    [
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n",
        b"P6 2 2 255\n" + bytes(12),
        b"",
        encoded(1)[:60],
        b'<svg xmlns="http://www.w3.org/2000/svg"/>',
    ],
)
def test_a_hostile_image_is_named_and_runs_nothing(
    content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    marker = tmp_path / "was-run"
    (tmp_path / "gs").write_text(f"#!/bin/sh\ntouch {marker}\n")
    (tmp_path / "gs").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr("PIL.EpsImagePlugin.gs_binary", None)
    write(tmp_path / "x", plain(0) | {"001.jpg": content, "001.cls": b"1"})
    said = refusal(make(tmp_path / "x"))
    assert "validation-0.tar: 001 cannot be read as an image (" in said
    assert not marker.exists()


def test_many_pixels_and_sixteen_bits_in_a_shard(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    Image.new("I;16", (40, 40), 32768).save(buffer, "PNG")
    write(tmp_path, {"0.png": buffer.getvalue(), "0.cls": b"0"} | plain(1) | plain(2))
    data = make(tmp_path)
    assert read(data) == [0, 1, 2]
    mean, std = (one[0] for one in data.normalization)
    assert round(float(data.val_dataset()[0][0][0, 9, 9] * std + mean), 2) == 0.5


def test_unreadable_ones_may_be_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    members = {name: one for number in range(20) for name, one in plain(number).items()}
    write(tmp_path, members | {"003.png": b"none"})
    data = make(tmp_path, on_bad_image="skip")
    assert read(data) == [number for number in range(20) if number != 3]
    with caplog.at_level(logging.WARNING):
        data.teardown("test")
    assert any(
        "1 of 20 images cannot be read" in said and "validation-0.tar: 003" in said
        for said in caplog.messages
    )
    assert len(read(make(tmp_path, on_bad_image="skip"), training=True)) == 20
    write(tmp_path, members | {f"{number:03}.png": b"none" for number in range(4)})
    assert "3 of 20 images cannot be read" in refusal(make(tmp_path, on_bad_image="skip"))


# --- labels and lists


@pytest.mark.parametrize("label", ["7", "-1", "ant", "", "1.5", "9" * 30, "\u0665"])
@pytest.mark.parametrize("skip", ["error", "skip"])
def test_a_label_that_is_none_is_named(tmp_path: Path, label: str, skip: str) -> None:
    write(tmp_path, plain(0) | plain(1, label) | plain(2, 1))
    data = make(tmp_path, num_classes=2, on_bad_image=skip, batch_size=1)
    said = refusal(data, training=True)
    assert "train-0.tar: 001 has the label" in said
    assert "from 0 to 1" in said


@pytest.mark.parametrize(
    "name",
    ["pipe:touch {marker}", "http://127.0.0.1:9/x.tar", "file:///etc/passwd", "../x.tar", "/x.tar"],
)
def test_a_hostile_list_is_refused_and_runs_nothing(tmp_path: Path, name: str) -> None:
    marker = tmp_path / "was-run"
    name = name.format(marker=marker)
    root = write(tmp_path / "x", plain(0) | plain(1), filenames=[name])
    assert "lists the shard" in refusal(make(root))
    split = {"val_split": f"{name}|2" if name.endswith(".tar") else f"{name}.tar|2"}
    assert "the shard" in refusal(make(write(tmp_path / "x", plain(0) | plain(1)), **split))
    assert not marker.exists()


def test_a_folder_called_as_a_command_is_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "pipe:touch was-run;echo ", plain(0) | plain(1))
    assert read(make("pipe:touch was-run;echo ")) == [0, 1]
    assert not (tmp_path / "was-run").exists()


def test_a_shard_that_is_cut_is_named(tmp_path: Path) -> None:
    write(tmp_path, *two_shards())
    shard = tmp_path / "validation-1.tar"
    whole = shard.read_bytes()
    for content in (whole[:700], whole[:1600], b"no tar", b""):
        shard.write_bytes(content)
        assert str(shard) in refusal(make(tmp_path)) or "but its list says 9" in refusal(
            make(tmp_path)
        )
    shard.write_bytes(whole[:2048])  # between two samples
    assert "holds 6 images in 2 shards, but its list says 9" in refusal(make(tmp_path))
    shard.unlink()
    os.mkfifo(shard)
    assert "no such file" in refusal(make(tmp_path))


@pytest.mark.parametrize(
    "info",
    [
        b"", b"[]", b'{"splits": 3}', b'{"splits": {"validation": []}}', b"[" * 5000,
        b'{"splits": {"validation": {"name": "v", "num_samples": "x", "filenames": [3],'
        b' "shard_lengths": []}}}',
        b'{"splits": {"validation": {"name": "v", "num_samples": 3, "filenames": [],'
        b' "shard_lengths": []}}}',
    ],
)  # fmt: skip
def test_a_damaged_list_is_refused(tmp_path: Path, info: bytes) -> None:
    write(tmp_path, plain(0) | plain(1))
    (tmp_path / "_info.json").write_bytes(info)
    assert str(tmp_path) in refusal(make(tmp_path))


def test_too_few_images_for_a_batch(tmp_path: Path) -> None:
    write(tmp_path, plain(0) | plain(1) | plain(2))
    assert "is more than the 3 training images" in refusal(make(tmp_path, batch_size=4))


def test_a_member_of_a_huge_size_is_not_read(tmp_path: Path) -> None:
    write(tmp_path, plain(0) | plain(1))
    shard = tmp_path / "validation-0.tar"
    member = tarfile.TarInfo("000.png")
    member.size = 2**40
    shard.write_bytes(member.tobuf() + bytes(2048))
    assert str(shard) in refusal(make(tmp_path))
    assert len(list(samples_of(tmp_path / "train-0.tar"))) == 2


# --- the hub's data sets


def test_columns_of_a_hubs_data_set_are_found_by_what_they_are(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    kinds = datasets.ClassLabel(names=["dog", "ant"])
    content = {
        "img": [{"bytes": encoded(i), "path": None} for i in range(4)],
        "fine": [0, 1, 1, 0],
        "coarse": [0, 0, 0, 1],
    }
    features = {"img": datasets.Image(), "fine": kinds, "coarse": kinds}
    for split in ("train", "validation"):
        one = datasets.Dataset.from_dict(content, features=datasets.Features(features))
        (tmp_path / "x").mkdir(exist_ok=True)
        one.to_parquet(str(tmp_path / "x" / f"{split}.parquet"))
    options = {"dataset": f"hfds/{tmp_path / 'x'}"}
    said = refusal(make(tmp_path / "cache", **options))
    assert "no one column of labels: name one of img, fine, coarse as datamodule.label_key" in said
    data = make(tmp_path / "cache", label_key="fine", **options)
    assert read(data) == [0, 1, 1, 0]
    assert data.class_names == ("dog", "ant")
    data.adopt_classes(["cat", "ant", "dog"])
    assert read(data) == [2, 1, 1, 2]
    assert (data.num_classes, data.present_classes) == (3, (1, 2))
    assert np.array_equal(data.class_name(2), "dog")
