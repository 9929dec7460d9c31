"""ImageNet from folders and by timm's names: labels, order, augmentation, and what is refused."""

import io
import json
import tarfile
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from PIL import Image
from timm.data import ImageNetInfo, IterableImageDataset
from timm.data.readers.reader import Reader
from torchvision.transforms import RandomErasing, RandomHorizontalFlip

from src.datamodules import named
from src.datamodules.imagenet import ImageNet
from src.errors import InputError
from src.shell.program import one_sentence_errors

YAML = Path(__file__).parents[2] / "conf" / "datamodule" / "imagenet.yaml"
# ImageNet's order is that of the names, but a subset's positions are not its outputs.
TENCH, ENGLISH_SPRINGER, CHURCH = ("n01440764", 0), ("n02102040", 217), ("n03028079", 497)


def make(root: object, **changes: object) -> ImageNet:
    """The data module as its yaml says, but small."""
    small = {
        "root": root if root is None else str(root),
        "network": "deit_tiny_patch16_224.fb_in1k",
        "image_size": 224,
        "batch_size": 2,
        "num_workers": 0,
        "seed": 0,
    }
    options = {**OmegaConf.to_container(OmegaConf.load(YAML), resolve=False), **small, **changes}
    options.pop("_target_")
    return ImageNet(**options)


def picture(value: int = 0, size: tuple[int, int] = (224, 224)) -> Image.Image:
    noise = np.random.default_rng(value).integers(0, 255, (*size[::-1], 3), dtype=np.uint8)
    return Image.fromarray(noise)


def write_folders(root: Path, *classes: str, images: int = 2, val: str = "val") -> Path:
    for split in ("train", val):
        for position, name in enumerate(classes):
            folder = root / split / name
            folder.mkdir(parents=True)
            for i in range(images):
                picture(10 * position + i, (32, 24)).save(folder / f"{name}_{i}.JPEG")
    return root


@pytest.fixture
def subset(tmp_path: Path) -> Path:
    return write_folders(tmp_path, CHURCH[0], TENCH[0], ENGLISH_SPRINGER[0])


def refusal(datamodule: ImageNet, stage: str = "fit") -> str:
    with pytest.raises(InputError) as caught:
        datamodule.check(stage)
    sentence = str(caught.value)
    assert "\n" not in sentence
    return sentence


# --- labels and order


def test_a_subset_of_wnids_is_labelled_by_imagenets_outputs(subset: Path) -> None:
    data = make(subset)
    data.check()
    assert data.num_classes == 1000
    assert data.present_classes == (TENCH[1], ENGLISH_SPRINGER[1], CHURCH[1])
    data.setup("fit")
    outputs = dict([TENCH, ENGLISH_SPRINGER, CHURCH])
    names = data.val_filenames()
    assert names is not None
    labels = torch.cat([labels for _, labels in data.val_dataloader()]).tolist()
    assert labels == [outputs[name.split("/")[0]] for name in names]
    train = Counter(label for _, label in data.train_dataset())  # type: ignore[attr-defined]
    assert train == dict.fromkeys(outputs.values(), 2)


@pytest.mark.parametrize("val", ["val", "validation"])
def test_other_folders_get_their_own_classes(tmp_path: Path, val: str) -> None:
    data = make(write_folders(tmp_path, "dog", "bird", "cat", val=val))
    data.check()
    assert (data.num_classes, data.present_classes) == (3, None)
    data.setup("test")
    labels = torch.cat([labels for _, labels in data.test_dataloader()]).tolist()
    assert labels == [0, 0, 1, 1, 2, 2]
    assert data.val_filenames()[-1] == "dog/dog_1.JPEG"  # type: ignore[index]


def test_evaluation_does_without_training_images(subset: Path) -> None:
    (subset / "train").rename(subset / "elsewhere")
    data = make(subset)
    data.check("test")
    data.setup("test")
    assert len(data.test_dataloader()) == 3
    assert "no folder 'train'" in refusal(make(subset))


def test_all_of_imagenet_is_counted_with_a_warning(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    picture(size=(8, 8)).save(buffer, "PNG")
    for split in ("train", "val"):
        for wnid in ImageNetInfo().label_names():
            folder = tmp_path / split / wnid
            folder.mkdir(parents=True)
            (folder / "image.png").write_bytes(buffer.getvalue())
    data = make(tmp_path)
    with pytest.warns(UserWarning, match="ImageNet-1k") as caught:
        data.check()
    first, second = (str(warning.message) for warning in caught)
    assert "1,000 images, ImageNet-1k 1,281,167" in first
    assert "1,000 images, ImageNet-1k 50,000" in second
    assert (data.num_classes, data.present_classes) == (1000, None)


def test_a_subset_is_not_warned_about(subset: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        make(subset).check()


# --- what the network sees


def test_a_whole_crop_of_the_right_size_is_the_image_itself(tmp_path: Path) -> None:
    write_folders(tmp_path, "a", "b")
    picture(7).save(tmp_path / "val" / "a" / "0.png")
    data = make(tmp_path, crop_pct=1.0)
    image, label = data.val_dataset()[0]
    mean, std = (torch.tensor(one).view(3, 1, 1) for one in data.normalization)
    seen = ((image * std + mean) * 255).round().to(torch.uint8)
    assert label == 0
    assert torch.equal(seen, torch.from_numpy(np.array(picture(7))).permute(2, 0, 1))
    smaller = make(tmp_path).val_dataset()[0][0]  # DeiT's own crop is 0.9
    assert not torch.equal(image, smaller)


@pytest.mark.parametrize("mode", ["L", "LA", "P", "CMYK", "RGBA", "1"])
def test_every_color_mode_becomes_rgb(tmp_path: Path, mode: str) -> None:
    write_folders(tmp_path, "a", "b")
    suffix = "jpg" if mode == "CMYK" else "png"
    odd = picture(size=(40, 30)).convert("L" if mode == "LA" else "RGB").convert(mode)
    odd.save(tmp_path / "train" / "a" / f"0.{suffix}")
    image, _ = make(tmp_path).train_dataset()[0]
    assert image.shape == (3, 224, 224)


def test_augmentation_is_deits_by_default_and_can_be_flips_alone(subset: Path) -> None:
    def steps(data: ImageNet) -> list[str]:
        return [type(step).__name__ for step in data.train_dataset().transform.transforms]  # type: ignore[attr-defined]

    full = steps(make(subset))
    assert {"RandAugment", "RandomErasing", "RandomHorizontalFlip"} <= set(full)
    plain = make(subset, scale=[0.5, 1.0], auto_augment=None, reprob=0.0)
    assert steps(plain) == [
        "RandomResizedCropAndInterpolation",
        RandomHorizontalFlip.__name__,
        "MaybeToTensor",
        "Normalize",
    ]
    crop = plain.train_dataset().transform.transforms[0]  # type: ignore[attr-defined]
    assert crop.scale == (0.5, 1.0)
    assert RandomErasing.__name__ not in steps(plain)


def test_the_networks_own_normalization_and_size(subset: Path) -> None:
    data = make(subset, network="vit_tiny_patch16_224.augreg_in21k_ft_in1k", image_size=96)
    assert data.val_dataset()[0][0].shape == (3, 96, 96)
    assert data.input_config.mean == (0.5, 0.5, 0.5)


# --- what is refused


def test_missing_folders_are_named(tmp_path: Path) -> None:
    missing = refusal(make(None))
    assert "datamodule.root" in missing
    assert "datamodule=digits" in missing
    assert "nowhere is not a folder" in refusal(make(tmp_path / "nowhere"))
    assert "no folder 'val'" in refusal(make(tmp_path))
    (tmp_path / "val").mkdir()
    (tmp_path / "val" / "ILSVRC2012_val_00000001.JPEG").touch()
    assert "1 files but no class folders" in refusal(make(tmp_path))


@pytest.mark.parametrize("split", ["train", "val"])
def test_a_class_without_images_is_named(subset: Path, split: str) -> None:
    for file in (subset / split / CHURCH[0]).iterdir():
        file.unlink()
    sentence = refusal(make(subset))
    assert split in sentence
    assert CHURCH[0] in sentence
    assert TENCH[0] not in sentence
    (subset / split / CHURCH[0] / "notes.txt").write_text("no image")
    assert CHURCH[0] in refusal(make(subset))


def test_folders_without_any_image_are_refused(tmp_path: Path) -> None:
    write_folders(tmp_path, "a", "b", images=0)
    sentence = refusal(make(tmp_path))
    assert "hold no images (" in sentence
    for suffix in (".png", ".jpg", ".jpeg", ".webp", ".tif"):
        assert suffix in sentence


@pytest.mark.parametrize("stage", ["fit", "test"])
@pytest.mark.parametrize("split", ["train", "val"])
def test_different_classes_of_the_splits_are_named(tmp_path: Path, split: str, stage: str) -> None:
    write_folders(tmp_path, "a", "b")
    (tmp_path / split / "zebra").mkdir()
    assert "only one of them has zebra" in refusal(make(tmp_path), stage)


def test_wnids_beside_other_names_are_refused(subset: Path) -> None:
    for split in ("train", "val"):
        (subset / split / TENCH[0]).rename(subset / split / "tench")
    assert "mixes ImageNet-1k WNIDs with other class folders (tench)" in refusal(make(subset))


def test_more_than_all_images_a_batch_is_refused(subset: Path) -> None:
    assert "batch_size=8" in refusal(make(subset, batch_size=8))
    make(subset, batch_size=8).check("test")
    make(subset, batch_size=6).check()


def test_bad_settings_are_named(subset: Path) -> None:
    assert "datamodule.num_classes=10" in refusal(make(subset, num_classes=10))
    with pytest.raises(InputError, match=r"batch_size=3 is odd"):
        make(subset, batch_size=3)
    assert "auto_augment=foo" in refusal(make(subset, auto_augment="foo"))


def test_the_first_image_of_a_class_is_looked_at_before_the_start(subset: Path) -> None:
    (subset / "train" / CHURCH[0] / "0.JPEG").write_text("I am no image")
    sentence = refusal(make(subset))
    assert str(subset / "train" / CHURCH[0] / "0.JPEG") in sentence
    assert "no image format" in sentence


def truncate(file: Path) -> None:
    picture(3).save(file)
    file.write_bytes(file.read_bytes()[:5000])


def write_text(file: Path) -> None:
    file.write_text("I am no image")


@pytest.mark.parametrize(("spoil", "num_workers"), [(truncate, 0), (write_text, 0), (truncate, 1)])
def test_an_unreadable_image_is_named_in_one_sentence(
    subset: Path,
    spoil: Callable[[Path], None],
    num_workers: int,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = subset / "val" / CHURCH[0] / f"{CHURCH[0]}_1.JPEG"  # not the first of its class
    spoil(file)
    data = make(subset, num_workers=num_workers)
    data.check()
    data.setup("test")
    batches = iter(data.test_dataloader())
    with pytest.raises(SystemExit) as left, one_sentence_errors():
        list(batches)
    assert left.value.code == 2
    if num_workers:
        batches._shutdown_workers()  # type: ignore[attr-defined]  # else the collector waits 5 s
    printed = capsys.readouterr().err
    assert printed.startswith(f"error: {file} cannot be read as an image (")
    assert printed.count("\n") == 1


# --- by timm's names


@pytest.mark.parametrize("prefix", ["hfds", "tfds", "wds"])
def test_a_missing_package_is_named(prefix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(named, "find_spec", lambda module: None)
    assert "pip install" in refusal(make(None, dataset=f"{prefix}/imagenet"))


def test_shards_lie_in_a_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(named, "find_spec", lambda module: True)
    assert "pipe:true is not a folder" in refusal(make("pipe:true", dataset="wds/imagenet"))


@pytest.mark.parametrize("name", ["webdataset/imagenet", "wds", "imagenet"])
def test_an_unknown_name_is_refused(name: str) -> None:
    assert f"datamodule.dataset={name}" in refusal(make(None, dataset=name))


class ShardReader(Reader):
    """Stands for a webdataset reader: it shares out among workers and needs the epoch told."""

    def __init__(self) -> None:
        self.class_to_idx: dict[str, int] = {}
        self.num_workers = self.epoch = 0

    def set_loader_cfg(self, num_workers: int) -> None:
        self.num_workers = num_workers

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return 4

    def __iter__(self) -> Iterator[tuple[Image.Image, int]]:
        yield from ((picture(i, (32, 32)), 100 * self.epoch + i) for i in range(4))


def test_a_stream_is_told_workers_and_epoch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(named, "find_spec", lambda module: True)
    monkeypatch.setattr(
        named, "create_dataset", lambda name, **_: IterableImageDataset(None, reader=ShardReader())
    )
    data = make(tmp_path, dataset="wds/imagenet", image_size=32)
    data.check()
    assert (data.num_classes, data.present_classes, data.val_filenames()) == (1000, None, None)
    assert make(tmp_path, dataset="wds/x", num_classes=7).num_classes == 7
    data.setup("fit")
    loader = data.train_dataloader()
    assert len(loader) == 2
    first, second = ([labels.tolist() for _, labels in loader] for _ in range(2))
    assert first == [[0, 1], [2, 3]]
    assert second == [[100, 101], [102, 103]]


def test_webdataset(tmp_path: Path) -> None:
    pytest.importorskip("webdataset")
    info: dict[str, dict[str, object]] = {}
    for split in ("train", "validation"):
        with tarfile.open(tmp_path / f"{split}.tar", "w") as tar:
            for i in range(4):
                buffer = io.BytesIO()
                picture(i, (32, 32)).save(buffer, "JPEG")
                for suffix, content in (("jpg", buffer.getvalue()), ("cls", str(i).encode())):
                    member = tarfile.TarInfo(f"{i:04}.{suffix}")
                    member.size = len(content)
                    tar.addfile(member, io.BytesIO(content))
        shards = {"filenames": [f"{split}.tar"], "shard_lengths": [4], "num_samples": 4}
        info[split] = {"name": split, **shards}
    (tmp_path / "_info.json").write_text(json.dumps({"splits": info}))
    data = make(tmp_path, dataset="wds/tiny", image_size=32)
    data.check()
    data.setup("fit")
    assert torch.cat([y for _, y in data.val_dataloader()]).tolist() == [0, 1, 2, 3]
    assert len(list(data.train_dataloader())) == 2
    assert "split 'test'" in refusal(make(tmp_path, dataset="wds/tiny", val_split="test"))


def test_hugging_face(tmp_path: Path) -> None:
    pytest.importorskip("datasets")
    images = write_folders(tmp_path / "images", "dog", "bird")  # what its folder builder reads
    data = make(tmp_path / "cache", dataset=f"hfds/{images}", image_size=32)
    data.check()
    assert data.num_classes == 2
    assert sorted(label for _, label in data.val_dataset()) == [0, 0, 1, 1]
