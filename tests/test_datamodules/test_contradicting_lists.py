"""Lists that contradict themselves are refused, and what is in both parts is named."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from PIL import Image

from src.datamodules.clip_files import ClipFiles
from src.datamodules.folders import ImageFolders
from src.datamodules.label_lists import read_listing
from src.datamodules.video_list import ListedVideos
from src.errors import InputError

from .test_labels_csv import make


def listing(tmp_path: Path, text: str) -> Path:
    (tmp_path / "a.csv").write_text(text)
    return tmp_path / "a.csv"


@pytest.mark.parametrize(
    "text",
    [
        "path,labels\na.jpg,cat\nb.jpg,dog\na.jpg,dog\n",  # a line for each label
        "path,labels\na.jpg,cat\nb.jpg,dog\n./a.jpg,cat|dog\n",
        "path,cat,dog\na.jpg,1,0\nb.jpg,0,1\na.jpg,1,\n",
    ],
)
def test_a_photograph_has_its_labels_in_one_line(tmp_path: Path, text: str) -> None:
    with pytest.raises(InputError, match=r"Line 4 of .*a\.csv lists .*other labels.*one line"):
        read_listing(listing(tmp_path, text))


def test_the_same_line_twice_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        read = read_listing(listing(tmp_path, "path,labels\na.jpg,cat|dog\na.jpg,dog|cat\n"))
    assert len(read.paths) == 2
    assert caplog.messages == [f"{tmp_path / 'a.csv'} lists 1 photographs more than once."]


def test_photographs_of_both_parts_are_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in "abc":
        Image.new("RGB", (8, 8)).save(tmp_path / f"{name}.png")
    (tmp_path / "train.csv").write_text("path,labels\na.png,owl\nb.png,cat\n")
    (tmp_path / "val.csv").write_text("path,labels\nc.png,owl\n./b.png,cat\n")
    data = make(tmp_path)
    with caplog.at_level(logging.WARNING):
        data.check("test")
        assert not caplog.messages
        data.check()
    (said,) = caplog.messages
    assert said.startswith("1 of the 2 validation photographs are training photographs too, as ")
    assert "b.png" in said


class Made(ClipFiles):
    """Has what it is given."""

    def __init__(self, root: Path, train: dict[str, str], val: list[tuple[str, str]]) -> None:
        super().__init__(str(root))
        self.parts = {True: [*train.items()], False: val}

    def find(self, training: bool) -> list[tuple[str, str]]:
        return self.parts[training]

    def declared_classes(self) -> list[str]:
        return sorted({label for part in self.parts.values() for _, label in part})


def test_a_class_that_training_lacks_is_refused(tmp_path: Path) -> None:
    """As of a name that is written in another way, which would count as never recognized."""
    source = Made(tmp_path, {"a": "cat", "b": "dog"}, [("c", "cat"), ("d", "Dog")])
    source.check(training=False)
    with pytest.raises(InputError, match="has no training videos of 'Dog', which validation has"):
        source.check(training=True)
    Made(tmp_path, {"a": "cat", "b": "dog"}, [("c", "cat")]).check(training=True)


def test_a_video_has_one_class(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    train = {"a": "cat", "b": "dog"}
    with pytest.raises(InputError, match=r"c is listed with the classes 'cat' and 'dog': a video"):
        Made(tmp_path, train, [("c", "cat"), ("x/../c", "dog")]).check(training=False)
    with caplog.at_level(logging.WARNING):
        Made(tmp_path, train, [("c", "cat"), ("a", "cat")]).check(training=True)
    assert "1 of the 2 validation videos are training videos too, as 'a'" in caplog.messages[0]


def test_one_folder_for_both_parts_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("train/ant", "train/bee", "val/ant"):
        (tmp_path / name).mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(tmp_path / name / "0.png")
    (tmp_path / "val/bee").symlink_to(tmp_path / "train/bee")
    folders = ImageFolders(str(tmp_path), "train", "val")
    with caplog.at_level(logging.WARNING):
        folders.check(training=False)
        assert not caplog.messages
        folders.check(training=True)
    assert "are the same folder for 1 classes, as bee, so that" in caplog.messages[0]


def listed(root: Path, train: str, val: str) -> ListedVideos:
    for name, text in (("train.txt", train), ("val.txt", val)):
        (root / name).write_text(text)
    return ListedVideos(str(root), "train.txt", "val.txt")


def test_a_label_that_numbers_no_class_is_refused(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As an identification, of which as many names would not fit into memory."""
    with pytest.raises(InputError, match=r"has the label 3000000: labels are the outputs"):
        _ = listed(tmp_path, "a.mp4 3000000\n", "b.mp4 0\n").class_names
    with caplog.at_level(logging.WARNING):
        assert listed(tmp_path, "a.mp4 2\n", "b.mp4 0\n").class_names == ("0", "1", "2")
        assert not caplog.messages
        assert listed(tmp_path, "a.mp4 2\n", "b.mp4 1\n").class_names == ("0", "1", "2")
    assert (
        "begin with 1, and they are the outputs of the network, of which 1 never"
        in (caplog.messages[0])
    )


def test_accents_of_two_kinds_are_told_apart(tmp_path: Path) -> None:
    for name in ("train/caf\u00e9", "val/cafe\u0301"):
        (tmp_path / name).mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(tmp_path / name / "0.png")
    with pytest.raises(InputError, match=r"only one of them has cafe\\u0301, caf\u00e9"):
        ImageFolders(str(tmp_path), "train", "val").check(training=True)


@pytest.mark.parametrize("label", ["-1", "1.0", "+2"])
def test_a_number_that_is_no_output_is_refused(tmp_path: Path, label: str) -> None:
    """Else all numbers would be names, and the largest no longer the last output."""
    with pytest.raises(InputError, match=f"line 2 of .*val.txt has the label .{label[1:]}: write"):
        _ = listed(tmp_path, "a.mp4 2\n", f"b.mp4 0\nc.mp4 {label}\n").class_names


def test_a_part_that_is_named_is_no_other_one(tmp_path: Path) -> None:
    for split in ("train", "val"):
        (tmp_path / split / "ant").mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(tmp_path / split / "ant/0.png")
    for name in ("validation", "val"):
        ImageFolders(str(tmp_path), "train", name).check(training=False)
    with pytest.raises(InputError, match="has no folder 'test'"):
        ImageFolders(str(tmp_path), "train", "test").check(training=False)
    (tmp_path / "validation/ant").mkdir(parents=True)
    for number in range(2):
        Image.new("RGB", (8, 8)).save(tmp_path / f"validation/ant/{number}.png")
    for name, count in (("validation", 2), ("val", 1)):
        assert len(ImageFolders(str(tmp_path), "train", name).val_filenames()) == count
