"""Videos without labels: found, read as views, predicted by the mean, and left out if damaged."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

pytest.importorskip("av")
from src.datamodules.normalization import Normalization
from src.datamodules.unlabelled import find_photographs
from src.errors import InputError
from src.modules import create_student
from src.predictions.base import Drawn, Options, Predicted, Reading
from src.predictions.clips import ClipTable
from src.predictions.single import output_of
from tests.test_datamodules.video_files import WIDTH, write_audio, write_video


@pytest.fixture
def student():
    return create_student("video_micro", method="rlt", rho=0.5, weights=None).eval()


def reading(student, **data) -> Reading:
    return Reading(student.preprocessing, student.input_sides(), data)


def test_videos_are_found_by_their_suffix(tmp_path):
    write_video(tmp_path / "in/b.mp4")
    (tmp_path / "in/a.jpg").touch()
    found = find_photographs(str(tmp_path), ClipTable.inputs)
    assert [one.name for one in found] == ["in/b.mp4"]
    with pytest.raises(InputError, match=r"has no videos: they end in \.avi"):
        find_photographs(f"{tmp_path}/in/*.jpg", ClipTable.inputs)


def test_the_table_holds_the_mean_of_the_views(tmp_path, student):
    write_video(tmp_path / "in/a.mp4", frames=30)
    write_audio(tmp_path / "in/b.mp4")
    files = find_photographs(str(tmp_path / "in"), ClipTable.inputs)
    views = {"clips": 2, "crops": 3}
    clips = ClipTable.reading(files, reading(student, views=views, stride=1))
    assert clips[1].unread == [(1, "it holds audio and no video")]
    batch = clips[0]
    assert batch.images.shape == (1, 6, 3, 8, 32, 32)
    assert batch.sizes == [(WIDTH, 32)]
    with torch.no_grad():
        output = ClipTable.run(student, batch.images)
        each = student(batch.images[0]).logits.softmax(-1)
    torch.testing.assert_close(output.logits.softmax(-1), each.mean(0, keepdim=True))
    assert output.steps[0].keep.shape[0] == 1
    names = tuple(f"class {number}" for number in range(10))
    with ClipTable(tmp_path / "p.csv", Options(names, top_k=2)) as table:
        table.write([Predicted("a.mp4", batch.sizes[0], (32, 32))], output)
        half = (0.5, 0.5, 0.5)
        drawn = Drawn(clips.original(files[0].path), batch.images, Normalization(half, half))
        picture = table.draw(drawn, output_of(output, 0))
    header, row = (tmp_path / "p.csv").read_text().splitlines()
    assert header == "file,prediction,confidence,prediction_2,confidence_2"
    assert row.startswith(f"a.mp4,class {int(each.mean(0).argmax())},")
    assert picture.width > 4 * 64, "four tubelets in a row"


def test_networks_of_images_are_refused(student):
    how = replace(reading(student), sides=(80, 80))
    with pytest.raises(InputError, match="takes single images of 80 pixels"):
        ClipTable.reading([], how)
