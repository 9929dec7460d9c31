"""Clips of videos in their four layouts: what is found, made of it, resumed and refused."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("av")
from src.config import compose_config, instantiate
from src.datamodules.resumable import drawn_from
from src.errors import InputError

from .video_files import number_of, write_video


def make(name: str, root: Path | None, **changes):
    settings = compose_config([f"datamodule={name}", "backbone=vit_micro"], ["datamodule"])
    small = {"image_size": 32, "num_frames": 4, "batch_size": 2, "num_workers": 0, "seed": 3}
    where = {"root": None if root is None else str(root)}
    return instantiate(settings["datamodule"] | small | where | changes)


def ready(*arguments, **changes):
    data = make(*arguments, **changes)
    data.check()
    data.setup("fit")
    return data


def kinetics(root: Path) -> Path:
    for split, count in (("train", 6), ("val", 3)):
        for name in ("run 10", "run 9"):
            for number in range(count):
                write_video(root / split / name / f"{number}.mp4", frames=30)
    return root


def video_list(root: Path) -> Path:
    for number in range(4):
        write_video(root / "all of them" / f"{number}.mkv", "mjpeg", frames=5)
    lines = [f"all of them/{number}.mkv {2 - number % 2}" for number in range(4)]
    (root / "train.txt").write_text("\n".join(lines[:2]))
    (root / "val.txt").write_text("\n".join([lines[2], f"{root}/{lines[3]}"]) + "\n\n")
    return root


def ucf101(root: Path) -> Path:
    names = [f"{kind}/v_{kind}_g0{n}.avi" for kind in ("Archery", "YoYo") for n in range(2)]
    for name in names:
        write_video(root / "UCF-101" / name, frames=5)
    lists = root / "ucfTrainTestlist"
    lists.mkdir()
    (lists / "classInd.txt").write_text("1 YoYo\n2 Archery\n")
    (lists / "trainlist02.txt").write_text(f"{names[0]} 2\r\n{names[2]} 1\r\n")
    (lists / "testlist02.txt").write_text(f"{names[1]}\n{names[3]}\n")
    return root


def something(root: Path) -> Path:
    (root / "labels").mkdir(parents=True)
    classes = {"Pushing something from left to right": "1", "Holding something": "0"}
    (root / "labels/labels.json").write_text(json.dumps(classes))
    for part, numbers in (("train", (7, 12)), ("validation", (1, 2))):
        templates = ["Holding [something]", "Pushing [something] from left to right"]
        videos = [
            {"id": str(number), "label": "holding a cup", "template": template}
            for number, template in zip(numbers, templates, strict=True)
        ]
        (root / f"labels/{part}.json").write_text(json.dumps(videos))
        for number in numbers:
            file = root / "20bn-something-something-v2" / f"{number}.webm"
            write_video(file, "libvpx-vp9", frames=5)
    return root


LAYOUTS = {
    "kinetics": (kinetics, {}, ("run 9", "run 10"), [0, 0, 0, 1, 1, 1]),
    "video_list": (video_list, {}, ("0", "1", "2"), [2, 1]),
    "ucf101": (ucf101, {"split": 2}, ("YoYo", "Archery"), [1, 0]),
    "something": (
        something,
        {},
        ("Holding something", "Pushing something from left to right"),
        [0, 1],
    ),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_layout_is_read(tmp_path, name):
    write, changes, classes, labels = LAYOUTS[name]
    data = ready(name, write(tmp_path), **changes)
    assert data.class_names == classes
    assert data.num_classes == len(classes)
    clips, targets = next(iter(data.train_dataloader()))
    assert clips.shape == (2, 3, 4, 32, 32)
    assert targets.shape == (2,)
    batches = list(data.val_dataloader())
    assert torch.cat([label for _, label in batches]).tolist() == labels
    assert batches[0][0].shape == (2, 1, 3, 4, 32, 32)
    assert len(list(data.val_filenames())) == len(labels)


def test_plain_training_clips_are_one_view_of_an_evaluation(tmp_path):
    data = ready("kinetics", kinetics(tmp_path), views={"clips": 3, "crops": 3}, stride=2)
    plain = data.plain_train_dataset()
    assert len(plain) == len(data.train_dataset())
    clip, label = plain[5]
    assert clip.shape == (3, 4, 32, 32)
    assert torch.equal(clip, plain[5][0])
    (tmp_path / "val/run 9/0.mp4").write_bytes((tmp_path / "train/run 9/5.mp4").read_bytes())
    views, same_label = data.val_dataset()[0]
    assert torch.equal(clip, views[4])  # the middle in time and space of three by three
    assert label == same_label


def test_an_evaluation_has_clips_times_crops(tmp_path):
    data = ready("kinetics", kinetics(tmp_path), views={"clips": 2, "crops": 3}, stride=2)
    views, _ = data.val_dataset()[0]
    assert views.shape == (6, 3, 4, 32, 32)
    assert data.views == 6
    frames = ready("kinetics", tmp_path, views={"clips": 2, "crops": 1}, stride=2)
    sampling = frames.val_dataset()._read.sampling
    decode = frames.val_dataset()._read.decode
    found = decode(str(tmp_path / "val/run 9/0.mp4"), lambda s: sampling.evaluation(s, 2))
    assert [number_of(found.pixels[p]) for p in found.places] == [0, 2, 4, 6, 23, 25, 27, 29]
    shown = data.normalization.undo(views.transpose(1, 2).flatten(0, 1)).unflatten(0, (6, 4))
    for clip in range(2):  # 32 x 96 pixels: the crops are the thirds
        for crop in range(3):
            for frame in range(4):
                pixels = found.pixels[found.places[clip * 4 + frame]]
                third = pixels[:, :, 32 * crop : 32 * crop + 32] / 255
                torch.testing.assert_close(shown[clip * 3 + crop, frame], third, atol=1e-5, rtol=0)


def test_all_frames_of_a_clip_are_augmented_alike(tmp_path):
    write_video(tmp_path / "train/a/0.mp4", frames=1)
    write_video(tmp_path / "val/a/0.mp4", frames=1)
    data = ready("kinetics", tmp_path, batch_size=1)
    clips = [data.train_dataset()[0][0] for _ in range(4)]
    for clip in clips:
        assert torch.equal(clip, clip[:, :1].expand_as(clip))
    assert not torch.equal(clips[0], clips[1])


@pytest.mark.parametrize(("hflip", "flipped"), [(0.0, False), (1.0, True)])
def test_flips_are_an_option(tmp_path, hflip, flipped):
    data = ready("kinetics", kinetics(tmp_path), hflip=hflip, scale=[1, 1], ratio=[3, 3])
    with drawn_from(1):
        clip = data.train_dataset()[0][0]
    with drawn_from(1):
        plain = make("kinetics", tmp_path, hflip=0.0, scale=[1, 1], ratio=[3, 3])
        expected = plain.train_dataset()[0][0]
    assert torch.equal(clip, expected.flip(-1) if flipped else expected)


def test_training_is_the_same_whoever_loads_it_and_resumes(tmp_path):
    alone, shared = (
        [*ready("kinetics", kinetics(tmp_path), num_workers=n).train_dataloader()] for n in (0, 2)
    )
    resumed = ready("kinetics", tmp_path)
    resumed.load_state_dict({"epoch": 0, "batch": 2})
    for ours, theirs in ((alone, shared), (alone[2:], [*resumed.train_dataloader()])):
        for (clips, labels), (others, other_labels) in zip(ours, theirs, strict=True):
            assert torch.equal(clips, others)
            assert torch.equal(labels, other_labels)


def test_unreadable_videos_are_left_out(tmp_path, caplog):
    kinetics(tmp_path)
    (tmp_path / "val/run 9/0.mp4").write_bytes(b"no video")
    with pytest.raises(InputError, match=r"0\.mp4 cannot be read as a video \(it is damaged"):
        make("kinetics", tmp_path).check()
    for number in range(3, 9):
        write_video(tmp_path / f"val/run 9/{number}.mp4")
    data = ready("kinetics", tmp_path, on_bad_image="skip")
    assert sum(len(labels) for _, labels in data.val_dataloader()) == 11
    with caplog.at_level(logging.WARNING):
        data.teardown("fit")
    (said,) = [r.getMessage() for r in caplog.records if r.name.startswith("src.")]
    assert said.startswith("1 of 12 videos cannot be read and are left out: ")


def test_a_networks_classes_are_adopted(tmp_path):
    data = make("kinetics", kinetics(tmp_path))
    data.adopt_classes(["swim", "run 10", "run 9"])
    data.check("test")
    assert data.num_classes == 3
    assert data.present_classes == (1, 2)
    data.adopt_classes(["swim", "run 9"])
    with pytest.raises(InputError, match="videos of 'run 10'"):
        data.check("test")


def wrong_list(root: Path, text: str) -> Path:
    (video_list(root) / "val.txt").write_text(text)
    return root


FAULTS = {
    "no root": ("kinetics", lambda p: None, {}, "root is not set"),
    "no folder": ("kinetics", lambda p: p / "x", {}, "x is not a folder"),
    "no split": ("kinetics", lambda p: p, {}, "has no folder 'val'"),
    "no classes": (
        "kinetics",
        lambda p: [(p / s).mkdir() for s in ("train", "val")] and p,
        {},
        "no class folders: sort the videos into",
    ),
    "no videos": (
        "kinetics",
        lambda p: (p / "val/a").mkdir(parents=True) or p,
        {},
        "class folders without videos",
    ),
    "a missing video": (
        "video_list",
        lambda p: wrong_list(p, "b.mp4 1"),
        {},
        "1 of the 1 videos that .* lists are not in",
    ),
    "an absolute path": (
        "video_list",
        lambda p: wrong_list(p, "/none/b.mp4 1"),
        {},
        "/none/b.mp4, which .* lists, does not exist",
    ),
    "a path alone": (
        "video_list",
        lambda p: wrong_list(p, "b.mp4"),
        {},
        "line 1 of .*: write a path and a label",
    ),
    "an empty list": ("video_list", lambda p: wrong_list(p, "\n"), {}, "has no validation videos"),
    "no list": ("ucf101", lambda p: p, {}, "classInd.txt cannot be read"),
    "a bad json": (
        "something",
        lambda p: (something(p) / "labels/validation.json").write_text("{}") and p,
        {},
        "has a list of videos there",
    ),
    "views": ("kinetics", lambda p: p, {"views": {"clips": 1}}, "must have clips and crops"),
    "decoder": ("kinetics", lambda p: p, {"decoder": "decord"}, "decoder=decord must be"),
    "sampling": ("kinetics", lambda p: p, {"sampling": "all"}, "sampling=all must be"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_bad_input_is_one_sentence(tmp_path, fault):
    name, write, changes, said = FAULTS[fault]
    with pytest.raises(InputError, match=said) as caught:
        make(name, write(tmp_path), **changes).check("test")
    assert len(caught.value.sentences) == 1


def test_frames_are_seen_to_move(tmp_path):
    """A training clip has frames of different times."""
    clip, _ = ready("kinetics", kinetics(tmp_path)).train_dataset()[0]
    assert np.unique(clip.mean(dim=(0, 2, 3))).size > 1
