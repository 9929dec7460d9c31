"""Which files of a folder are images, of which class, and what is said of the others."""

import logging
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from timm.data import create_dataset

from src.datamodules.decoding import SUFFIXES
from src.datamodules.folders import ImageFolders
from src.errors import InputError

NETTE = ("n01440764", "n02102040", "n03888257")


def write(root: Path, *files: str) -> Path:
    """Small images of `<class>/<file>` in both splits; what is no image's name holds text."""
    for split in ("train", "val"):
        for file in files:
            path = root / split / file
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.suffix.lower() in SUFFIXES and not path.name.startswith("."):
                Image.new("RGB", (8, 8)).save(path)
            else:
                path.write_text("none")
    return root


def folders(root: Path, **options: object) -> ImageFolders:
    return ImageFolders(str(root), "train", "val", **options)  # type: ignore[arg-type]


def checked(root: Path, **options: object) -> ImageFolders:
    found = folders(root, **options)
    found.check(training=True)
    return found


@pytest.mark.parametrize("suffix", [s for s in SUFFIXES if not s.startswith(".avif")])
@pytest.mark.parametrize("upper", [False, True])
def test_every_suffix_is_taken(tmp_path: Path, suffix: str, upper: bool) -> None:
    write(tmp_path, f"ant/0{suffix.upper() if upper else suffix}", "bee/0.jpg")
    assert len(checked(tmp_path).dataset(True, np.asarray)) == 2


def test_other_files_are_counted_and_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(tmp_path, "ant/0.jpg", "ant/1.heic", "bee/2.heic", "bee/0.jpg", "bee/3", "4.jpg")
    write(tmp_path, "ant/Thumbs.db", "ant/.DS_Store")
    assert len(checked(tmp_path).dataset(True, np.asarray)) == 2
    of_train = [said for said in caplog.messages if f"{tmp_path}/train" in said]
    assert "3 files of" in of_train[0]
    assert "(.heic 2, no suffix 1) and are left out" in of_train[0]
    assert "1 images lie in" in of_train[1]
    assert len(of_train) == 2


def test_what_systems_leave_is_no_image_and_no_class(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(tmp_path, "ant/0.jpg", "ant/._0.jpg", "bee/IMG_0.jpg", "bee/._IMG_0.jpg")
    for name in ("__MACOSX", "@eaDir", "lost+found", ".ipynb_checkpoints", "ant/@eaDir"):
        write(tmp_path, f"{name}/x.jpg")
    found = checked(tmp_path)
    assert found.class_names == ("ant", "bee")
    assert found.val_filenames() == ["ant/0.jpg", "bee/IMG_0.jpg"]
    (said, _) = [
        message for message in caplog.messages if "hold images and are left out" in message
    ]
    assert "and 1 more hold images" in said


def test_nothing_is_said_of_plain_folders(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(tmp_path, "ant/0.jpg", "bee/1.png")
    (tmp_path / "val" / "__MACOSX").mkdir()
    checked(tmp_path)
    assert not caplog.messages


def test_images_at_any_depth_are_their_class_folders(tmp_path: Path) -> None:
    write(tmp_path, "ant/images/a/0.jpg", "ant/1.jpg", "bee/ant/2.jpg")
    dataset = checked(tmp_path).dataset(False, np.asarray)
    labels = {dataset.reader.filename(i): dataset[i][1] for i in range(len(dataset))}
    assert labels == {"ant/images/a/0.jpg": 0, "ant/1.jpg": 0, "bee/ant/2.jpg": 1}


# --- links


@pytest.mark.parametrize("target", ["..", ".", "../bee", "../../val"])
def test_a_link_never_counts_an_image_twice(tmp_path: Path, target: str) -> None:
    write(tmp_path, "ant/0.jpg", "bee/0.jpg")
    (tmp_path / "val" / "ant" / "up").symlink_to(target)
    with pytest.raises(InputError, match=r"leads to the same folder as .* remove this link"):
        folders(tmp_path).check(training=False)


def test_links_to_elsewhere_work(tmp_path: Path) -> None:
    write(tmp_path / "else", "ant/0.jpg", "more/1.jpg")
    write(tmp_path, "bee/0.jpg")
    for split in ("train", "val"):
        (tmp_path / split / "ant").symlink_to(tmp_path / "else" / split / "ant")
        (tmp_path / split / "bee" / "more").symlink_to(tmp_path / "else" / split / "more")
        (tmp_path / split / "bee" / "2.jpg").symlink_to(tmp_path / "else/train/ant/0.jpg")
    names = checked(tmp_path).val_filenames()
    assert names == ["ant/0.jpg", "bee/0.jpg", "bee/2.jpg", "bee/more/1.jpg"]


# --- outputs


@pytest.mark.parametrize(
    "names",
    [
        [str(i) for i in range(12)],
        [f"{i:02d}" for i in range(12)],
        [f"class_{i}" for i in range(1, 13)],
        ["Bird", "ant", "Zebra", "cat"],
        ["a-b", "a", "a b", "a_b", "A1", "a10", "a2"],
        ["3", "7", "x", "10"],
        ["Ärger", "zoo", "écru", "1é"],
        [*NETTE[::-1], "other"],
    ],
)
def test_outputs_and_order_are_timms(tmp_path: Path, names: list[str]) -> None:
    write(tmp_path, *(f"{name}/{i}.jpg" for name in names for i in (10, 9, 1)))
    ours = folders(tmp_path, num_classes=len(names))
    timms = create_dataset("", root=str(tmp_path / "val"), search_split=False).reader
    assert ours.classes.outputs == timms.class_to_idx
    assert ours.val_filenames() == timms.filenames()


def test_a_thousand_numbers_are_their_own_outputs(tmp_path: Path) -> None:
    for number in range(1000):
        (tmp_path / "val" / str(number)).mkdir(parents=True)
    assert folders(tmp_path).classes.outputs == {str(i): i for i in range(1000)}


@pytest.mark.parametrize("names", [["1", "2", "10"], ["3", "7", "9"], ["0", "2"]])
def test_numbers_that_are_not_their_outputs_are_said(
    tmp_path: Path, names: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    write(tmp_path, *(f"{name}/0.jpg" for name in names))
    assert checked(tmp_path).classes.outputs == {name: i for i, name in enumerate(names)}
    (said,) = caplog.messages
    assert "output i stands for the i-th folder" in said


@pytest.mark.parametrize("names", [["0", "1", "2"], ["00", "01"], ["1a", "2a"]])
def test_other_numbers_go_without_saying(
    tmp_path: Path, names: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    checked(write(tmp_path, *(f"{name}/0.jpg" for name in names)))
    assert not caplog.messages


def test_wnids_with_outputs_of_their_own(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(tmp_path, *(f"{name}/0.jpg" for name in NETTE))
    imagenets = checked(tmp_path)
    assert (imagenets.num_classes, imagenets.present_classes) == (1000, (0, 217, 701))
    with caplog.at_level(logging.INFO):
        own = checked(tmp_path, num_classes=3)
    assert (own.num_classes, own.present_classes) == (3, None)
    assert own.class_names == NETTE
    assert [label for _, label in own.dataset(True, np.asarray)] == [0, 1, 2]  # type: ignore[attr-defined]
    assert own.class_name(2) == "parachute"
    assert "outputs 0 to 2 of their own" in caplog.messages[-1]
    assert checked(tmp_path, num_classes=1000).num_classes == 1000
    with pytest.raises(InputError, match=r"datamodule\.num_classes=4 .* there are 3"):
        checked(tmp_path, num_classes=4)


def test_a_mix_with_other_synsets_names_the_way_out(tmp_path: Path) -> None:
    write(tmp_path, "n01440764/0.jpg", "n01456756/0.jpg")
    with pytest.raises(InputError, match=r"mixes .* datamodule\.num_classes=2"):
        checked(tmp_path)
    assert checked(tmp_path, num_classes=2).num_classes == 2


def test_one_class_is_possible(tmp_path: Path) -> None:
    assert checked(write(tmp_path, "ant/0.jpg")).num_classes == 1


# --- what their headers say


def test_transparency_and_dark_sixteen_bits_are_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(tmp_path, "ant/0.png", "bee/0.png", "cow/0.png")
    Image.new("RGBA", (8, 8)).save(tmp_path / "val" / "ant" / "0.png")
    Image.new("I;16", (8, 8), 4000).save(tmp_path / "val" / "bee" / "0.png")
    Image.new("I;16", (8, 8), 5000).save(tmp_path / "val" / "cow" / "0.png")
    checked(tmp_path)
    transparent, dark = caplog.messages
    assert "val/ant/0.png can be transparent" in transparent
    assert "val/bee/0.png have more than 8 bits" in dark
