"""Clips in 8 bits: the report is that of an evaluation over all views, at the named batch size."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from src.config import compose_config, instantiate
from src.export import check
from src.export.agreement import agreement
from src.export.graph import load
from src.modules.video import mean_of_views
from tests.test_export.test_dense import PARTS, REST

SMALL = ("+backbone.options.depth=2", "backbone.locations=[1]", "backbone.weights=null")
DATA = ("datamodule.train_images=40", "datamodule.val_images=10", "datamodule.num_workers=0")
BATCH = 4


class TwoViews(torch.utils.data.Dataset[tuple[Tensor, int]]):
    """Shows every clip as it is and mirrored."""

    def __init__(self, clips: Any) -> None:
        self.clips = clips

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        views, label = self.clips[index]
        return torch.cat([views, views.flip(-1)]), label


@pytest.mark.slow
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_clips_in_eight_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("onnxruntime")
    words = ["task=video", *SMALL, *DATA, "datamodule.batch_size=16"]
    asked = {**compose_config(words, PARTS), **REST, "file": str(tmp_path / "clips.onnx")}
    asked |= {"int8": "both", "calibration_images": 64, "throughput_batch": BATCH}
    data = instantiate(asked["datamodule"])
    clips = TwoViews(data.val_dataset())
    monkeypatch.setattr(data, "val_dataset", lambda: clips)
    monkeypatch.setattr(check, "_data", lambda *_: data)
    monkeypatch.setattr(
        check, "timed", lambda files, _: [{"network": f.network, "bits": f.bits} for f in files]
    )
    rows, found = check.export_and_check(asked)
    assert (found["images"], found["batch_size"]) == (10, BATCH)
    assert found["calibration_images"] == 40  # all that there are
    views = torch.cat([clips[number][0] for number in range(10)])
    labels = torch.tensor([clips[number][1] for number in range(10)])
    files = {row["bits"]: row for row in rows if row["network"] == "sparse"}
    assert list(files) == ["fp32", "int8 dynamic", "int8 static"]
    logits = {}
    for bits, row in files.items():
        run = load(Path(row["file"]))
        logits[bits] = mean_of_views(torch.cat([run(part)[0] for part in views.split(BATCH)]), 2)
        right = (logits[bits].argmax(dim=1) == labels).double().mean()
        assert row["acc1"] == pytest.approx(100 * float(right))
    for bits in ("int8 dynamic", "int8 static"):
        agreed = agreement(logits["fp32"], logits[bits])
        assert files[bits]["same_class"] == agreed.same
        assert files[bits]["kl"] == pytest.approx(agreed.kl, rel=1e-6)
        assert 0 < agreed.kl < 0.05
