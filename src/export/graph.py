"""Writes pruned networks as graphs that run without this project: torch.export's or ONNX."""

from __future__ import annotations

import copy
import json
import warnings
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch._dynamo.exc import UserError

from ..errors import InputError
from ..files import atomic_file
from ..modules.backbones.base import SparseOutput
from ..modules.heads.base import WholeNetwork
from ..modules.methods.base import Method
from ..modules.saving.description import as_text
from .attention import BiasAsChannel
from .kept import KeptSets
from .networks import Network, student_of

FORMATS = (".onnx", ".pt2")
LARGEST_BATCH = 4096
Outputs = tuple[Tensor, ...]


class Deployed(nn.Module):
    """Runs a student at inference, alone or with its head, from tensors to tensors."""

    def __init__(self, network: Network, survivors: bool = False) -> None:
        """Copy `network`; with `survivors` also return which patches each location leaves."""
        super().__init__()
        network = copy.deepcopy(network).eval().requires_grad_(False)
        self.student = student_of(network)
        self.head = network.head if isinstance(network, WholeNetwork) else None
        self.survivors = survivors
        self.kept: KeptSets | None = None
        self.names = ["logits", *["survivors"] * survivors]

    def note(self, kept: bool) -> None:
        """Add a last output, which patches each location selects (`KeptSets`), if `kept`."""
        if kept:
            self.kept = KeptSets(self.student)
            self.names.append("kept")

    def forward(self, images: Tensor) -> Outputs:
        """Compute logits of images `(B, 3, H, W)`, and sets of patches `(B, S, patches)`.

        Logits are `(B, classes)`, with a head `(B, classes, H, W)`.
        """
        output: SparseOutput
        if self.head is None:
            output = self.student(images)
            outputs = [output.logits]
        else:
            output = self.student.with_maps(images)
            outputs = [self.head(output, images).logits]
        if self.survivors:
            outputs.append(torch.stack(output.decisions, dim=1))
        if self.kept is not None:
            outputs.append(self.kept.of(output))
        return tuple(outputs)


def export(
    network: Network,
    path: Path,
    image_size: int,
    survivors: bool = False,
    described: Mapping[str, object] | None = None,
    kept: bool = False,
    select: str = "topk",
) -> None:
    """Write `network` for any batch size to `path`, as ONNX or torch.export's by its suffix.

    Args:
        network: A student, alone or with a head that gives logits, on the CPU.
        path: Ends in `.onnx` or `.pt2`.
        image_size: Side in pixels; how many tokens each location keeps is fixed by it.
        survivors: Add the second output of `Deployed`.
        described: A description of the student, by key: written to `metadata_props` of an ONNX
            file, each value as JSON, and to a `.json` beside any file.
        kept: Add the last output of `Deployed`.
        select: `topk`, or `matmul` for a graph that selects without sorting and look-ups.

    Raises:
        InputError: If the suffix or an argument is invalid, the method cannot be exported, or a
            package is missing.
    """
    student = student_of(network)
    _check(student.method, path, survivors, select)
    model = Deployed(network, survivors)
    if select == "matmul":
        model.student.method.use_products()
    model.note(kept)
    images = torch.randn(2, 3, *student.input_sides(image_size))
    batch = torch.export.Dim("batch", min=1, max=LARGEST_BATCH)
    rewritten = BiasAsChannel() if path.suffix == ".onnx" else nullcontext()
    try:
        with torch.no_grad(), rewritten:
            program = torch.export.export(
                model, (images,), dynamic_shapes=({0: batch},), strict=False
            )  # recording the kept sets is a side effect, which strict tracing refuses
    except UserError as error:
        reason = str(error).splitlines()[0]
        raise InputError(
            f"{student.method.name} cannot be exported for any batch size: {reason} "
            "Write x.shape[0] for the batch: len(x) and int(...) fix it to a number."
        ) from error
    if select == "matmul":
        program = program.run_decompositions({torch.ops.aten.select.int: _slice})
    if path.suffix == ".pt2":
        with atomic_file(path) as partial:
            torch.export.save(program, partial)
    else:
        _write_onnx(program, path, model.names, described or {})
    write_description(path, described)


def _check(method: Method, path: Path, survivors: bool, select: str) -> None:
    if path.suffix not in FORMATS:
        raise InputError(f"file={path} must end in {' or '.join(FORMATS)}.")
    if survivors and not method.schedule.locations:
        raise InputError("survivors=true: a dense network decides nothing; leave it false.")
    if reason := method.not_exported:
        raise InputError(f"{method.name} cannot be exported: {reason}.")
    if select not in ("topk", "matmul"):
        raise InputError(f"select={select} is neither topk nor matmul.")


def _write_onnx(
    program: torch.export.ExportedProgram,
    path: Path,
    outputs: list[str],
    described: Mapping[str, object],
) -> None:
    try:
        with atomic_file(path) as partial, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # warnings of the exporter's own calls
            written = torch.onnx.export(
                program,
                (),
                input_names=["images"],
                output_names=outputs,
                dynamo=True,
                verbose=False,
            )
            assert written is not None
            _name_batch(written.model)
            written.model.metadata_props.update(as_text(described))
            written.save(str(partial), external_data=False)
    except ImportError as error:
        raise InputError(f"ONNX needs packages: pip install onnx onnxscript ({error}).") from error


def _slice(x: Tensor, dim: int, index: int) -> Tensor:
    """Return `x.select(dim, index)`, which ONNX would write as a look-up."""
    index = index % x.shape[dim]
    return x.narrow(dim, index, 1).squeeze(dim)


def _name_batch(model: Any) -> None:
    """Call the first dimension of inputs and outputs `batch`, whatever the exporter called it."""
    first = str(model.graph.inputs[0].shape[0])
    for value in [*model.graph.inputs, *model.graph.outputs, *_values(model)]:
        for axis, dim in enumerate(value.shape or ()):
            if str(dim) == first:
                value.shape[axis] = "batch"


def _values(model: Any) -> list[Any]:
    return [output for node in model.graph for output in node.outputs]


def write_description(path: Path, described: Mapping[str, object] | None) -> None:
    """Write an exported student's description, if there is one, to a `.json` beside its file."""
    if described is None:
        return
    with atomic_file(path.with_suffix(".json")) as partial:
        partial.write_text(json.dumps(described, indent=2) + "\n", "utf-8")


def load(path: Path, threads: int | None = None) -> Callable[[Tensor], Outputs]:
    """Return a function from images to the outputs of a file that `export` wrote.

    Args:
        path: The file, which must be trusted: unlike weights, it is a program.
        threads: For ONNX Runtime; PyTorch's number by default.

    Raises:
        InputError: If a package is missing.
    """
    if path.suffix == ".pt2":
        module = torch.export.load(path).module()
        return lambda images: tuple(module(images))
    try:
        import onnxruntime
    except ImportError as error:
        raise InputError("Running ONNX needs a package: pip install onnxruntime.") from error
    options: Any = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or torch.get_num_threads()
    session = onnxruntime.InferenceSession(str(path), options, ["CPUExecutionProvider"])

    def run(images: Tensor) -> Outputs:
        outputs = session.run(None, {"images": images.numpy()})
        return tuple(torch.from_numpy(np.asarray(output)) for output in outputs)

    return run


def largest_difference(
    model: Deployed, run: Callable[[Tensor], Outputs], image_size: int, batch: int
) -> float:
    """Return the largest difference of any output between PyTorch and a file, at a batch size."""
    images = torch.randn(batch, 3, *model.student.input_sides(image_size))
    with torch.inference_mode():
        expected = model(images)
    pairs = zip(expected, run(images), strict=True)
    return max(float((one - other).abs().max()) for one, other in pairs)
