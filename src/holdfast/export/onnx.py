"""A model as an ONNX file that old runtimes read, compared with PyTorch before it is handed out."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray
from torch import nn

from holdfast.core.errors import DataError, HoldfastError, UsageError
from holdfast.core.paths import atomic_path

INPUT, OUTPUT = "image", "logits"
METADATA = "holdfast.data"
OPSET = 17
TOLERANCE = 1e-5
"""Largest difference of a logit from PyTorch's, relative to the largest logit of the batch (or to 1)."""

Array = NDArray[np.float32]


@dataclass(frozen=True)
class OnnxFile:
    """An ONNX file: operator set, IR version, and how far its logits are from PyTorch's (None: not compared).

    ``difference`` is the largest absolute one over the compared batch, in units of a logit.
    """

    path: Path
    opset: int
    ir: int
    difference: float | None = None


def to_onnx(
    model: nn.Module, path: Path | str, opset: int = OPSET, *, meta: Mapping[str, Any] | None = None
) -> OnnxFile:
    """Write ``model`` (of ``models.create``) to ``path`` with a dynamic batch, and compare it with PyTorch.

    Input ``image`` float32 (N, C, H, W), output ``logits`` float32 (N, classes), any N. ``meta`` (JSON-able:
    transform, channels, units, classes…) travels in the file's metadata. Traced with two images by the
    TorchScript exporter, which writes IR 8 and opset 17; the newer one writes what older runtimes refuse.
    Raises UsageError for a model that does not trace, DataError if the file's logits differ from PyTorch's by
    more than 1e-5, StorageError; ``path`` is then as it was.
    """
    model = model.eval()
    images = example(model, 3)
    path = Path(path)
    with atomic_path(path) as temporary:
        with warnings.catch_warnings():
            # Of its own end and of what it does not fold: whether the file is right is measured below.
            warnings.simplefilter("ignore")
            try:
                torch.onnx.export(
                    model,
                    (torch.from_numpy(images[:2]),),
                    str(temporary),
                    dynamo=False,
                    opset_version=opset,
                    input_names=[INPUT],
                    output_names=[OUTPUT],
                    dynamic_axes={INPUT: {0: "n"}, OUTPUT: {0: "n"}},
                )
            except (RuntimeError, ValueError, torch.onnx.errors.OnnxExporterError) as error:
                raise UsageError(
                    f"ONNX export of {type(model).__name__}",
                    expected=f"operators that opset {opset} has",
                    got=str(error).strip().splitlines()[0],
                ) from error
        if meta is not None:
            _write_meta(temporary, meta)
        found = inspect(temporary)
        difference = compare(model, temporary, images)
    return OnnxFile(path, found.opset, found.ir, difference)


def compare(model: nn.Module, path: Path, images: Array) -> float:
    """The largest difference of logits between ``model`` and the file. Raises DataError above TOLERANCE.

    All ``images`` (N, C, H, W) at once and the first alone are run, so that a frozen batch is noticed.
    """
    active = session(path)
    worst = 0.0
    for batch in (images, images[:1]):
        with torch.inference_mode():
            expected = model(torch.from_numpy(batch)).numpy()
        got = logits(active, batch)
        if got.shape != expected.shape:
            raise DataError(f"ONNX file {path}", expected=f"logits {expected.shape}", got=got.shape)
        difference = float(np.abs(got - expected).max())
        worst = max(worst, difference)
        if not difference <= TOLERANCE * max(1.0, float(np.abs(expected).max())):
            raise DataError(
                f"ONNX file {path}",
                expected="the logits that PyTorch has",
                got=f"{difference:.2g} beside them",
            )
    return worst


def example(model: nn.Module, n: int, seed: int = 0) -> Array:
    """Images (n, C, H, W) in [0, 1) of the shape that ``model`` takes. Raises UsageError without a config."""
    config = getattr(model, "config", None)
    if config is None:
        raise UsageError("ONNX export", expected="a model made by models.create", got=type(model).__name__)
    shape = (n, config.in_channels, config.size, config.size)
    return np.random.default_rng(seed).random(shape, dtype=np.float32)


def inspect(path: Path | str) -> OnnxFile:
    """Operator set and IR version of a file. Raises DataError for what is no ONNX model."""
    model = _load(Path(path))
    opset = max((item.version for item in model.opset_import if item.domain in ("", "ai.onnx")), default=0)
    return OnnxFile(Path(path), opset, model.ir_version)


def read_meta(path: Path | str) -> dict[str, Any]:
    """The ``meta`` that ``to_onnx`` was given, {} without any. Raises DataError for what is no ONNX model."""
    for item in _load(Path(path)).metadata_props:
        if item.key == METADATA:
            try:
                return dict(json.loads(item.value))
            except (ValueError, TypeError) as error:
                raise DataError(f"{path}, {METADATA}", expected="a JSON object", got=str(error)) from error
    return {}


def session(path: Path | str, threads: int = 1) -> onnxruntime.InferenceSession:
    """The file in ONNX Runtime on the CPU, with as many threads as CMSSW gives it: one."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime has a class for each of its status codes
        if isinstance(error, HoldfastError):
            raise
        raise DataError(f"ONNX file {path}", expected="what ONNX Runtime runs", got=str(error)) from error


def logits(active: onnxruntime.InferenceSession, images: Array) -> Array:
    """First output of a session for ``images`` (N, C, H, W) float32."""
    found: Array = active.run([active.get_outputs()[0].name], {active.get_inputs()[0].name: images})[0]
    return found


def batched_logits(active: onnxruntime.InferenceSession, batches: Iterable[Array]) -> Array:
    """First output of a session over batches of images, one after another."""
    return np.concatenate([logits(active, batch) for batch in batches])


def _load(path: Path) -> onnx.ModelProto:
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load(path, load_external_data=False)
    except (DecodeError, OSError, ValueError) as error:
        raise DataError(f"ONNX file {path}", expected="an ONNX model", got=str(error)) from error
    if not model.graph.node:
        raise DataError(f"ONNX file {path}", expected="an ONNX model", got="a file without nodes")
    return model


def _write_meta(path: Path, meta: Mapping[str, Any]) -> None:
    model = onnx.load(path)
    item = model.metadata_props.add()
    item.key, item.value = METADATA, json.dumps(meta, sort_keys=True, allow_nan=False)
    onnx.save(model, path)
