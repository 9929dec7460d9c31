"""Shards in object storage, served by a local one: the same images, copied once."""

import os
from pathlib import Path

import pytest
import torch

from src.datamodules import shard_places
from src.datamodules.shard_places import Bucket
from src.errors import InputError
from tests.test_datamodules.test_shard_resume import make
from tests.test_datamodules.test_shard_resume import root as root

pytest.importorskip("webdataset")
pytest.importorskip("s3fs")
moto = pytest.importorskip("moto.server")
boto3 = pytest.importorskip("boto3")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server(root):
    """Serve `root` as s3://data/folder on this machine."""
    running = moto.ThreadedMotoServer(port=0, verbose=False)
    running.start()
    host, port = running.get_host_and_port()
    before = dict(os.environ)
    os.environ.update(
        AWS_ENDPOINT_URL=f"http://{host}:{port}",
        AWS_ACCESS_KEY_ID="key",
        AWS_SECRET_ACCESS_KEY="secret",
        AWS_DEFAULT_REGION="us-east-1",
    )
    client = boto3.client("s3")
    client.create_bucket(Bucket="data")
    for file in root.iterdir():
        client.upload_file(str(file), "data", f"folder/{file.name}")
    yield f"http://{host}:{port}"
    os.environ.clear()
    os.environ.update(before)
    running.stop()


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "tokenthrift" / "shards"


@pytest.mark.parametrize("workers", [0, 2])
def test_a_bucket_gives_the_images_of_the_folder(server, root, workers, cache):
    batches = []
    for place in (root, "s3://data/folder"):
        data = make(place, workers, mixup=None)
        data.check()
        data.setup("fit")
        batches.append([*data.train_dataloader(), *data.val_dataloader()])
    for (images, labels), (others, same) in zip(*batches, strict=True):
        assert torch.equal(images, others)
        assert torch.equal(labels, same)
    assert len(list(cache.glob("*/[!.]*.tar"))) == 3


def test_a_copy_is_made_once_and_room_is_made_for_others(server, cache, monkeypatch):
    place = Bucket("s3://data/folder")
    first = place.local("a-0.tar")
    os.utime(first, (0, 0))
    made = first.stat().st_ino
    assert place.local("a-0.tar").stat().st_ino == made
    second = place.local("a-1.tar")
    os.utime(first, (0, 0))
    full = shard_places.shutil.disk_usage(cache)._replace(total=1000, free=10)
    monkeypatch.setattr(shard_places.shutil, "disk_usage", lambda _: full)
    place.local("a-2.tar")
    assert not first.exists()
    assert second.exists()


def test_what_cannot_be_read_is_named(server, monkeypatch):
    with pytest.raises(InputError, match=r"s3://none/folder.*bucket") as caught:
        make("s3://none/folder").check()
    assert len(caught.value.sentences) == 1
    with pytest.raises(InputError, match=r"s3://data/other holds nothing"):
        make("s3://data/other").check()
    with pytest.raises(InputError, match=r"lists the shard b\.tar, but there is no such file"):
        make("s3://data/folder", val_split="b.tar").check()
    place = Bucket("s3://data/folder")
    boto3.client("s3").put_object(Bucket="data", Key="folder/a-1.tar", Body=b"half")
    with pytest.raises(InputError, match=r"a-1\.tar came with 4 of"):
        place.local("a-1.tar")


def test_a_missing_package_is_named():
    with pytest.raises(InputError, match=r"pip install \S+"):
        Bucket("gs://bucket/folder")


def test_refused_credentials_are_one_sentence(monkeypatch):
    """As s3fs says a 403; fsspec's memory is asked, which needs no server."""
    from fsspec.implementations.memory import MemoryFileSystem

    def refuse(*_, **__):
        raise PermissionError("The AWS Access Key Id you provided does not exist in our records.")

    monkeypatch.setattr(MemoryFileSystem, "find", refuse)
    with pytest.raises(InputError, match=r"memory://data cannot be read \(The AWS Access Key") as e:
        Bucket("memory://data")
    assert "credentials" in str(e.value)
    assert str(e.value).count("\n") == 0
