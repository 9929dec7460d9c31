"""An ONNX file says all that a program needs which has neither PyTorch nor this project."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits

from src import create_student
from src.export.graph import export
from src.modules.saving.description import describe
from tests.helpers import ROOT

# What somebody would write who has the file alone.
SCRIPT = """
import json, sys
import numpy as np, onnxruntime
from PIL import Image

session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
facts = {k: json.loads(v) for k, v in session.get_modelmeta().custom_metadata_map.items()}
ready, names = facts["preprocessing"], facts["class_names"]
height, width = ready["size"]
batch = []
for path in sys.argv[2:]:
    image = Image.open(path).convert("RGB")
    scale = height / ready["crop_pct"] / min(image.size)
    size = [round(side * scale) for side in image.size]
    image = image.resize(size, getattr(Image.Resampling, ready["interpolation"].upper()))
    left, top = (image.width - width) // 2, (image.height - height) // 2
    pixels = np.asarray(image.crop((left, top, left + width, top + height)), np.float32) / 255
    batch.append((pixels - np.float32(ready["mean"])) / np.float32(ready["std"]))
batch = np.stack(batch).transpose(0, 3, 1, 2).astype(np.float32)
(logits,) = session.run(None, {session.get_inputs()[0].name: batch})
best = [names[i] for i in logits.argmax(1)]
shape = session.get_inputs()[0].shape, session.get_outputs()[0].shape
print(json.dumps({"logits": logits.tolist(), "best": best, "shape": shape}))
"""


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_plain_script_agrees_with_the_student(tmp_path: Path) -> None:
    weights = ROOT / "assets" / "vit_micro_digits.safetensors"
    student = create_student("vit_micro", rho=0.7, method="evit", weights=weights).eval()
    student.class_names = tuple(f"digit {i}" for i in range(10))
    path = tmp_path / "student.onnx"
    export(student, path, 80, described=describe(student, None, None))
    digits = load_digits()
    photos = []
    for number in range(4):
        glyph = np.uint8(255 - digits.images[number] * 15.9)
        photos.append(tmp_path / f"{number}.png")
        image = Image.fromarray(glyph).resize((120, 96), Image.Resampling.BICUBIC)
        image.convert("RGB").save(photos[-1])
    command = [sys.executable, "-c", SCRIPT, str(path), *map(str, photos)]
    said = subprocess.run(command, check=True, capture_output=True, text=True, cwd=tmp_path)
    found = json.loads(said.stdout)
    prepare = student.preprocessing.transform()
    images = torch.stack([prepare(Image.open(photo).convert("RGB")) for photo in photos])
    logits = student.predict(images)
    assert (torch.tensor(found["logits"]) - logits).abs().max() < 1e-4
    assert found["best"] == [student.class_names[i] for i in logits.argmax(1).tolist()]
    assert found["shape"] == [["batch", 3, 80, 80], ["batch", 10]]
    beside = json.loads((tmp_path / "student.json").read_text())
    assert beside == json.loads(json.dumps(describe(student, None, None)))
    assert beside["method"]["settings"]["_target_"] == "src.modules.methods.evit.EViT"
