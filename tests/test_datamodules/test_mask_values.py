"""What pixel values mean, which mask belongs to which image, and masks that teach nothing."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from src.config import compose_config, instantiate
from src.datamodules.masks import Masks, read_pixels
from src.datamodules.pairs import find_pairs
from src.datamodules.pixel_values import MOST, PixelValues
from src.datamodules.targets import IGNORED
from src.errors import InputError
from src.modules.segmentation import SparseSegmenter

SIDE = 32
FACTS = {"network": "resnet18", "image_size": SIDE, "batch_size": 2, "num_workers": 0}


def write(root: Path, left: int, right: int, count: int = 2, splits: Any = None) -> Path:
    """Images with masks of two halves."""
    pixels = np.full((SIDE, SIDE), left, np.uint8)
    pixels[:, SIDE // 2 :] = right
    for split in splits or ("training", "validation"):
        for tree in ("images", "annotations"):
            (root / tree / split).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            Image.new("RGB", (SIDE, SIDE)).save(root / "images" / split / f"{number}.jpg")
            Image.fromarray(pixels).save(root / "annotations" / split / f"{number}.png")
    return root


def masks(root: Path, **options: Any) -> Masks:
    own: dict[str, Any] = {"root": str(root), "num_classes": 2, "reduce_zero_label": False}
    return Masks(**{**FACTS, **own, **options})


def halves(data: Masks) -> list[int]:
    """The classes of the left and of the right half of a validation mask."""
    mask = data.val_dataset()[0][1]["mask"]
    assert {len(part.unique()) for part in mask.chunk(2, dim=1)} == {1}
    return [int(mask[SIDE // 2, column]) for column in (1, SIDE - 2)]


def refused(call: Callable[[], object], *fragments: str) -> None:
    with pytest.raises(InputError) as error:
        call()
    (sentence,) = error.value.args
    assert sentence.endswith(".")
    assert sentence.isprintable()
    assert not re.search(r"[.!] [A-Z]", sentence)
    for fragment in fragments:
        assert fragment in sentence


@pytest.mark.parametrize(
    ("values", "options", "expected"),
    [
        ((0, 1), {}, [0, 1]),
        ((1, 0), {}, [1, 0]),
        ((1, 2), {"reduce_zero_label": True}, [0, 1]),
        ((0, 255), {"values": [0, 255]}, [0, 1]),
        ((0, 255), {"values": [255, 0]}, [1, 0]),
        ((0, 128), {"values": [0, 128]}, [0, 1]),
        ((1, 255), {"values": [1, 255]}, [0, 1]),
        ((1, 2), {"values": [1, 2]}, [0, 1]),
        ((7, 200), {"values": [7, 100, 200], "num_classes": 3}, [0, 2]),
        ((0, 254), {"num_classes": 255}, [0, 254]),
        ((1, 254), {"num_classes": 254, "reduce_zero_label": True}, [0, 253]),
    ],
)
def test_values_become_classes(values: Any, options: Any, expected: Any, tmp_path: Path) -> None:
    data = masks(write(tmp_path, *values), **options)
    data.check()
    assert halves(data) == expected


def test_255_is_ignored_unless_it_is_a_class(tmp_path: Path) -> None:
    write(tmp_path, 0, 1)
    write(tmp_path, 5, 255, count=1, splits=["validation"])
    assert halves(masks(tmp_path, values=[0, 5])) == [1, IGNORED]
    assert halves(masks(tmp_path, values=[5, 255])) == [0, 1]


@pytest.mark.parametrize(
    ("values", "options", "fragments"),
    [
        ((0, 255), {}, ("masks of 0 and 255 only", "255 is ignored", "datamodule.values=[0,255]")),
        ((1, 255), {}, ("masks of 1 and 255 only", "class 1", "datamodule.values=[1,255]")),
        ((0, 255), {"num_classes": 5}, ("class 0", "datamodule.values=[0,255]")),
        ((0, 0), {}, ("masks of 0 only", "every pixel is of class 0")),
        ((1, 1), {}, ("masks of 1 only", "every pixel is of class 1")),
        ((255, 255), {}, ("masks of 255 only", "every pixel is ignored")),
        (
            (0, 255),
            {"reduce_zero_label": True},
            ("every pixel is ignored", "datamodule.reduce_zero_label=false"),
        ),
        (
            (0, 1),
            {"reduce_zero_label": True},
            ("0 is ignored", "class 0", "datamodule.reduce_zero_label=false"),
        ),
        ((5, 255), {"values": [5, 6]}, ("255 is ignored", "class 0")),
        ((0, 2), {}, ("index 2", "0 to 1", "datamodule.values")),
        ((0, 128), {}, ("index 128", "0 to 1")),
        ((0, 9), {"values": [0, 8]}, ("index 9", "0, 8")),
    ],
)
def test_masks_that_teach_nothing(
    values: Any, options: Any, fragments: Any, tmp_path: Path
) -> None:
    folder = tmp_path / "annotations" / "training"
    refused(masks(write(tmp_path, *values), **options).check, str(folder), *fragments)


def test_a_validation_of_one_class(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(tmp_path, 0, 1)
    write(tmp_path, 0, 0, splits=["validation"])
    masks(tmp_path).check()
    assert "every pixel is of class 0; if this is not meant" in caplog.text
    write(tmp_path, 0, 255, splits=["validation"])
    refused(lambda: masks(tmp_path).check("test"), "255 is ignored", "validation")


def test_classes_that_never_occur_are_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    masks(write(tmp_path, 0, 2), num_classes=4).check("test")
    (warning,) = caplog.messages
    assert "no pixel of 2 of the 4 classes of datamodule.num_classes (values 1, 3)" in warning


@pytest.mark.parametrize(
    ("count", "second", "read"),
    [
        (50, 0, 50),
        (1000, 0, 64),
        (1000, 15, 939),  # every 16th, then the 16th after each first, and so on
    ],
)
def test_of_many_masks_some_are_read(count: int, second: int, read: int) -> None:
    calls = []

    def pixels_of(path: Path) -> np.ndarray:
        calls.append(path)
        return np.array([[0, int(int(path.stem) == second)]], np.uint8)

    paths = [Path(f"x/{number}.png") for number in range(count)]
    PixelValues(2).check_split(paths, pixels_of, training=True)
    assert len(set(calls)) == len(calls) == pytest.approx(read, abs=20)


@pytest.mark.parametrize("count", [1000, 5000])
def test_many_masks_of_one_class(count: int, caplog: pytest.LogCaptureFixture) -> None:
    paths = [Path(f"x/{number}.png") for number in range(count)]

    def check() -> None:
        white = np.array([[0, 255]], np.uint8)
        PixelValues(2).check_split(paths, lambda path: white, training=True)

    if count <= MOST:
        refused(check, "masks of 0 and 255 only", "(1000 of 1000 were read)")
    else:
        check()
        assert "(2000 of 5000 were read): 255 is ignored" in caplog.text


@pytest.mark.parametrize(
    ("options", "fragments"),
    [
        *(({"num_classes": n}, (f"num_classes={n} must be",)) for n in (0, -1, 1.5, 256, True)),
        ({"num_classes": 1}, ("num_classes=1", "the background counts too")),
        ({"num_classes": "many"}, ("num_classes='many' must be a whole number from 2 to 255",)),
        ({"num_classes": None}, ("num_classes=None",)),
        ({"num_classes": 255, "reduce_zero_label": True}, ("from 2 to 254",)),
        ({"values": [0]}, ("values=[0]", "2 different", "num_classes=2")),
        ({"values": []}, ("values=[]",)),
        ({"values": [0, 0]}, ("values=[0, 0]",)),
        ({"values": [0, 1, 2]}, ("values=[0, 1, 2]",)),
        ({"values": [0, -1]}, ("values=[0, -1]",)),
        ({"values": [0, 1.5]}, ("values=[0, 1.5]",)),
        ({"values": [0, "255"]}, ("values=[0, '255']",)),
        ({"values": 255}, ("values=255 must be a list",)),
        ({"values": "0,255"}, ("values='0,255' must be a list",)),
        ({"values": [0, 2**16]}, ("from 0 to 65535",)),
        ({"values": [1, 2], "reduce_zero_label": True}, ("reduce_zero_label=true contradict",)),
    ],
)
def test_settings_that_cannot_be(options: Any, fragments: Any, tmp_path: Path) -> None:
    refused(masks(write(tmp_path, 0, 1), **options).check, "datamodule.", *fragments)


def test_values_are_a_setting(tmp_path: Path) -> None:
    words = ["datamodule=masks", "datamodule.num_classes=2", "datamodule.values=[0,255]"]
    settings = compose_config([*words, "backbone=swin_micro"], ["datamodule"])["datamodule"]
    data = instantiate(settings | FACTS | {"root": str(write(tmp_path, 0, 255))})
    data.check()
    assert halves(data) == [0, 1]


@pytest.mark.parametrize(
    ("mode", "suffix"),
    [
        *((mode, suffix) for mode in ("1", "L", "P") for suffix in ("png", "tif", "PNG", "bmp")),
        ("I;16", "png"),
        ("I;16", "tiff"),
        ("I", "tif"),
    ],
)
def test_masks_of_every_mode(mode: str, suffix: str, tmp_path: Path) -> None:
    pixels = np.zeros((SIDE, SIDE), np.uint8)
    pixels[:, SIDE // 2 :] = 1 if mode == "1" else 3
    image = Image.fromarray(pixels)
    if mode == "P":
        image.putpalette([128, 0, 0, 0, 128, 0] * 2)
    elif mode == "1":
        image = Image.fromarray(pixels.astype(bool))
    elif mode != "L":
        image = Image.fromarray(pixels.astype(np.uint16 if mode == "I;16" else np.int32))
    path = tmp_path / f"0.{suffix}"
    image.save(path)
    assert (read_pixels(path) == pixels).all()


def test_a_sixteen_bit_mask(tmp_path: Path) -> None:
    write(tmp_path, 0, 1)
    pixels = np.zeros((SIDE, SIDE), np.uint16)
    pixels[:, SIDE // 2 :] = 1000
    for path in tmp_path.glob("annotations/*/*.png"):
        Image.fromarray(pixels).save(path)
    data = masks(tmp_path, values=[0, 1000])
    data.check()
    assert halves(data) == [0, 1]
    refused(masks(tmp_path).check, "index 1000")


@pytest.mark.parametrize("value", [0.5, 1.0, float("nan")])
def test_a_fractional_mask(value: float, tmp_path: Path) -> None:
    path = write(tmp_path, 0, 1) / "annotations" / "training" / "0.png"
    path.unlink()
    path = path.with_suffix(".tif")
    Image.fromarray(np.full((SIDE, SIDE), value, np.float32)).save(path)
    refused(masks(tmp_path).check, str(path), "fractional numbers")


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA"])
def test_a_mask_of_colors(mode: str, tmp_path: Path) -> None:
    path = write(tmp_path, 0, 1) / "annotations" / "training" / "0.png"
    Image.new(mode, (SIDE, SIDE)).save(path)
    refused(masks(tmp_path).check, str(path), f"{len(mode)} channels")


@pytest.mark.parametrize("options", [{"format": kind} for kind in ("JPEG", "WEBP", "GIF")])
def test_a_mask_of_another_format_than_its_name(options: Any, tmp_path: Path) -> None:
    path = write(tmp_path, 0, 1) / "annotations" / "training" / "0.png"
    Image.new("L", (SIDE, SIDE)).save(path, **options)
    refused(masks(tmp_path).check, str(path), options["format"], "changes values")


def test_a_tiff_compressed_as_photographs(tmp_path: Path) -> None:
    path = write(tmp_path, 0, 1) / "annotations" / "training" / "0.png"
    path.unlink()
    Image.new("L", (SIDE, SIDE)).save(path.with_suffix(".tif"), compression="jpeg")
    refused(masks(tmp_path).check, "0.tif", "without the compression of photographs")


def touch(root: Path, *names: str) -> tuple[Path, Path]:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root / "i", root / "m"


@pytest.mark.parametrize(
    ("image", "mask"),
    [
        *(("0.jpg", f"0.{suffix}") for suffix in ("png", "PNG", "tif", "tiff", "bmp")),
        *(("0.jpg", f"0.jpg.{suffix}") for suffix in ("png", "Tif")),
        *((f"0.{suffix}", "0.png") for suffix in ("JPG", "jpeg", "webp", "tif", "PNG", "jfif")),
        ("city/0.jpg", "city/0.png"),
        ("a/b/c/0.jpg", "a/b/c/0.jpg.png"),
        ("a.b.c.jpg", "a.b.c.png"),
        ("caf\u00e9.jpg", "cafe\u0301.png"),
    ],
)
def test_the_mask_of_an_image(image: str, mask: str, tmp_path: Path) -> None:
    folders = touch(tmp_path, f"i/{image}", f"m/{mask}")
    assert find_pairs(*folders) == [(tmp_path / "i" / image, tmp_path / "m" / mask)]


@pytest.mark.parametrize(
    ("names", "fragments"),
    [
        (("i/0.jpg", "m/0_mask.png"), ("0.jpg has no mask", "m/0.png is missing", "0_mask.png is")),
        (("i/0.jpg", "m/0.jpg"), ("0.jpg has no mask", "0.jpg is there")),
        (("i/0.jpg", "m/0.gif"), ("0.jpg has no mask", "0.gif is there")),
        (("i/0.jpg", "i/1.jpg", "m/x.png"), ("nor have 1 other images", "no such name is there")),
        (("i/a/0.jpg", "m/0.png"), ("a/0.jpg has no mask", "m/a/0.png is missing")),
        (("i/0.jpg", "m/.0.png", "m/._0.png"), ("0.jpg has no mask",)),
        (("i/0.jpg", "m/0.png", "m/0.tif"), ("0.jpg has 2 masks", "0.png", "0.tif")),
        (("i/0.jpg", "m/0.png", "m/0.jpg.png"), ("0.jpg has 2 masks",)),
        (("i/0.jpg", "i/0.tif", "m/0.png"), ("0.jpg", "0.tif", "share the mask")),
        (("i/.0.jpg", "i/0.txt", "m/0.png"), ("holds no images",)),
    ],
)
def test_pairs_that_cannot_be(names: Any, fragments: Any, tmp_path: Path) -> None:
    folders = touch(tmp_path, *names)
    refused(lambda: find_pairs(*folders), *fragments)


def test_what_is_left_out_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folders = touch(tmp_path, "i/0.jpg", "i/1.heic", "i/._0.jpg", "m/0.png", "m/5.png", "m/x.txt")
    os.mkfifo(tmp_path / "i" / "pipe.jpg")
    (tmp_path / "i" / "loop").symlink_to(tmp_path / "i")
    assert len(find_pairs(*folders)) == 1
    images, unused = caplog.messages
    assert "1 files in" in images
    assert "1.heic" in images
    assert "1 masks in" in unused
    assert "5.png" in unused


def test_images_in_subfolders_have_their_names(tmp_path: Path) -> None:
    write(tmp_path, 0, 1, splits=["training", "validation", "validation/city"])
    data = masks(tmp_path)
    data.check()
    names = ["0.jpg", "1.jpg", "city/0.jpg", "city/1.jpg"]
    assert data.val_filenames() == names
    assert len(data.val_dataset()) == 4


def test_classes_that_neither_occur_nor_are_found_do_not_count() -> None:
    words = ["task=segmentation", "backbone=swin_micro", "backbone.weights=null"]
    module = instantiate(compose_config(words, ["task"])["task"], num_classes=5)
    assert isinstance(module, SparseSegmenter)
    metrics = module.make_metrics()
    metrics.update(torch.tensor([[0, 0, 1, 2]]), torch.tensor([[0, 0, 1, 1]]))
    assert float(metrics.compute()["miou"]) == pytest.approx((1 + 0.5 + 0) / 3)
    refused(
        lambda: instantiate(compose_config(words, ["task"])["task"], num_classes=1),
        "num_classes=1",
    )
