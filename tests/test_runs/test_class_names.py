"""A checkpoint knows its classes by name, and data is labelled by them."""

import logging
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from PIL import Image

from src import create_student
from src.callbacks.run_record import RunRecord
from src.checkpoints.checkpoint import Checkpoint
from src.config import compose_config, instantiate
from src.datamodules.imagenet import ImageNet
from src.errors import InputError
from src.runs.class_names import check_same_classes, match_classes, warn_of_other_classes

WNIDS = ("n01440764", "n02102040", "n03888257")  # ImageNet's outputs 0, 217 and 701


def data_of(root: Path, *names: str, **changes: object) -> ImageNet:
    for split in ("train", "val"):
        for name in names:
            (root / split / name).mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (8, 8)).save(root / split / name / "0.png")
    settings = compose_config(["datamodule=imagenet", "backbone=vit_micro"], ["datamodule"])
    small = {"root": str(root), "batch_size": 2, "num_workers": 0, "mixup": None}
    data = instantiate(settings["datamodule"] | small | changes)
    data.check("test")
    return data


def stored(path: Path, *names: str, outputs: int | None = None) -> Path:
    """A checkpoint of a network for these classes."""
    student = create_student("vit_micro", num_classes=outputs or len(names))
    weights = {f"student.{key}": value for key, value in student.state_dict().items()}
    torch.save({"state_dict": weights} | ({"class_names": list(names)} if names else {}), path)
    return path


def labels(data: ImageNet) -> dict[str, int]:
    """The label of each validation image's folder."""
    data.setup("test")
    found = torch.cat([labels for _, labels in data.test_dataloader()]).tolist()
    return {
        name.split("/")[0]: label
        for name, label in zip(data.val_filenames(), found, strict=True)  # type: ignore[arg-type]
    }


def test_the_same_names_in_another_order(tmp_path: Path) -> None:
    data = data_of(tmp_path, "ant", "bee", "cow")
    match_classes(data, Checkpoint.read(stored(tmp_path / "a.ckpt", "cow", "ant", "bee")))
    assert labels(data) == {"ant": 1, "bee": 2, "cow": 0}
    assert (data.num_classes, data.present_classes) == (3, None)
    assert data.class_names == ("cow", "ant", "bee")
    assert data.class_name(0) == "cow"


def test_a_subset_is_scored_on_the_networks_outputs(tmp_path: Path) -> None:
    data = data_of(tmp_path, "cow", "ant")
    match_classes(data, Checkpoint.read(stored(tmp_path / "a.ckpt", "ant", "bee", "cow")))
    assert labels(data) == {"ant": 0, "cow": 2}
    assert (data.num_classes, data.present_classes) == (3, (0, 2))


def test_wnids_are_scored_on_outputs_of_their_own(tmp_path: Path) -> None:
    data = data_of(tmp_path, *WNIDS)
    match_classes(data, Checkpoint.read(stored(tmp_path / "a.ckpt", *WNIDS)))
    assert labels(data) == {name: output for output, name in enumerate(WNIDS)}
    assert (data.num_classes, data.present_classes) == (3, None)


def test_a_subset_of_a_run_whose_number_of_classes_was_given(tmp_path: Path) -> None:
    data = data_of(tmp_path, *WNIDS[1:], num_classes=3)
    match_classes(data, Checkpoint.read(stored(tmp_path / "a.ckpt", *WNIDS)))
    assert labels(data) == {WNIDS[1]: 1, WNIDS[2]: 2}


def test_wnids_without_names_in_the_file_name_the_way_out(tmp_path: Path) -> None:
    file = stored(tmp_path / "a.ckpt", outputs=3)
    with pytest.raises(InputError, match=r"for 3 classes.* has 1000.*datamodule\.num_classes=3"):
        match_classes(data_of(tmp_path, *WNIDS), Checkpoint.read(file))
    with pytest.raises(InputError, match=r"for 3 classes.*has 2: evaluate on the data.*for.$"):
        match_classes(data_of(tmp_path / "b", "ant", "bee"), Checkpoint.read(file))
    data = data_of(tmp_path, *WNIDS, num_classes=3)
    match_classes(data, Checkpoint.read(file))
    assert labels(data) == {name: output for output, name in enumerate(WNIDS)}


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (("bee", "cow"), r"cow is not among the 2 classes of .*a\.ckpt \(ant, bee\)"),
        (("cow", "dog"), "cow, dog are not among the 2 classes"),
        (("Ant", "bee"), "Ant is not among .* did you mean ant"),
        (("ant", "bee", "cow"), "cow is not among"),
    ],
)
def test_unknown_names_are_refused(tmp_path: Path, names: tuple[str, ...], said: str) -> None:
    file = stored(tmp_path / "a.ckpt", "ant", "bee")
    with pytest.raises(InputError, match=said) as caught:
        match_classes(data_of(tmp_path, *names), Checkpoint.read(file))
    assert ". " not in str(caught.value)


@pytest.mark.parametrize("names", ["ant", [1, 2], [], ["ant", "ant"], {"ant": 0}])
def test_damaged_names_are_refused(names: object) -> None:
    with pytest.raises(InputError, match="class_names that are no list of different texts"):
        assert not Checkpoint(Path("a.ckpt"), {"class_names": names}).class_names


def test_a_run_stores_its_names() -> None:
    for names, wanted in ((("ant", "bee"), {"class_names": ["ant", "bee"]}), (None, {})):
        trainer = SimpleNamespace(datamodule=SimpleNamespace(class_names=names), world_size=1)
        content: dict[str, object] = {}
        RunRecord({}, {}).on_save_checkpoint(trainer, None, content)  # type: ignore[arg-type]
        assert content == {"run": {"config": {}, "choices": {}, "processes": 1}} | wanted


def test_a_training_goes_on_with_its_own_classes(tmp_path: Path) -> None:
    data = data_of(tmp_path, "ant", "bee")
    check_same_classes(data, Checkpoint.read(stored(tmp_path / "a.ckpt", "ant", "bee")))
    check_same_classes(data, Checkpoint.read(stored(tmp_path / "b.ckpt", outputs=2)))
    for names in (("bee", "ant"), ("ant", "cow"), ("ant", "bee", "cow")):
        with pytest.raises(InputError, match=r"was trained for .*resume on the data"):
            check_same_classes(data, Checkpoint.read(stored(tmp_path / "c.ckpt", *names)))


def test_a_head_for_other_names_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    data = data_of(tmp_path, "ant", "bee")
    warn_of_other_classes(data, Checkpoint.read(stored(tmp_path / "a.ckpt", "ant", "bee")))
    assert not caplog.messages
    with caplog.at_level(logging.WARNING):
        warn_of_other_classes(data, Checkpoint.read(stored(tmp_path / "b.ckpt", "ant", "cow")))
    assert "as cow at output 1 where the data has bee" in caplog.messages[0]


def test_embedded_data_knows_its_names() -> None:
    for name, number, first in (("digits", 10, "0"), ("digits_scenes", 11, "ground")):
        settings = compose_config([f"datamodule={name}", "backbone=vit_micro"], ["datamodule"])
        data = instantiate(settings["datamodule"])
        assert (len(data.class_names), data.num_classes) == (number, number)
        assert data.class_names[0] == first
