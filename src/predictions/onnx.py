"""Runs the ONNX files that export writes, by ONNX Runtime alone."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from ..datamodules.preprocessing import Preprocessing
from ..errors import InputError, one_sentence
from ..modules.backbones.output import SparseOutput
from ..modules.heads.base import DenseOutput, Output
from ..modules.saving.described import CLASSIFICATION


class OnnxStudent(nn.Module):
    """Gives the logits of an exported network; features and decisions stay in the file.

    Attributes:
        task: What the outputs are, by a name of `conf/task`.
        has_head: Whether they are those of a head.
        preprocessing: How the file says that images are prepared.
        class_names: The name of each output's class; None where the file does not say.
    """

    def __init__(self, path: Path) -> None:
        """Open the file; it runs on the CPU.

        Raises:
            InputError: If it cannot be opened, lacks its description, or a package is missing.
        """
        super().__init__()
        if not path.is_file():
            raise InputError(f"ckpt_path={path} is not a file: give the path of an ONNX file.")
        try:
            import onnxruntime
        except ImportError as error:
            raise InputError("Running ONNX needs a package: pip install onnxruntime.") from error
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        try:
            self._session = onnxruntime.InferenceSession(
                str(path), options, ["CPUExecutionProvider"]
            )
        except Exception as error:  # of ONNX Runtime's own classes
            raise InputError(
                f"ckpt_path={path} cannot be run: {one_sentence(str(error))}"
            ) from error
        said = self._session.get_modelmeta().custom_metadata_map
        self.preprocessing = Preprocessing.checked(
            _value(said, "preprocessing"), f"{path}: preprocessing"
        )
        names = _value(said, "class_names")
        self.class_names = tuple(map(str, names)) if isinstance(names, list) else None
        said_task = _value(said, "task")
        task = said_task if isinstance(said_task, dict) else {}
        self.task = str(task.get("name") or CLASSIFICATION)
        self.has_head = bool(task.get("head"))
        if self.task == CLASSIFICATION and task.get("num_classes") == 0:
            self.task = "embedding"  # which former files do not say

    def input_sides(self) -> tuple[int, ...]:
        """Return height and width of an input in pixels, before them the frames of a clip."""
        return tuple(self._session.get_inputs()[0].shape[2:])

    def forward(self, images: Tensor) -> Output:
        """Classify `images (B, 3, H, W)`, clips `(B, 3, T, H, W)`, or with a head pixels."""
        inputs = {self._session.get_inputs()[0].name: images.float().cpu().numpy()}
        logits = torch.from_numpy(self._session.run(None, inputs)[0])
        features, sizes = logits.new_zeros(len(logits), 0, 0), logits.new_zeros(len(logits), 0)
        if not self.has_head:
            return SparseOutput(logits, features, sizes)
        return DenseOutput(SparseOutput(sizes, features, sizes), logits)


def _value(said: Mapping[str, str], key: str) -> object:
    try:
        return json.loads(said.get(key, "null"))
    except ValueError:
        return None
