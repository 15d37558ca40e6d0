"""Program ``form``: a model as an ONNX file, dense or sparse, quantised or not, protected or not."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from holdfast.core.errors import UsageError
from holdfast.core.result import Record, write_records
from holdfast.programs.export_cmssw import trained_on
from holdfast.programs.model_files import ModelFile

QUANTIZATIONS = ("none", "onnx-dynamic", "onnx-static", "onnx-float16")


def run(
    out: Path,
    *,
    model: Path,
    sparse_model: Path | None,
    data: Path | str,
    sparse: bool,
    quantization: str,
    protection: bool,
    calibration: int,
    seed: int,
) -> None:
    """Write ``out/model.onnx`` in the form asked for.

    The sparse form is ``sparse_model`` (a packed network, or any model file). Static quantisation looks at
    ``calibration`` training images. The protected form corrects what it can. The record is the file's size.
    Raises UsageError for a form that there is not, such as the protection of a network without products that
    can be checked.
    """
    from holdfast.export import candidates, to_onnx

    if sparse and sparse_model is None:
        raise UsageError("the sparse form", expected="--sparse-model", got="none")
    source = sparse_model if sparse and sparse_model is not None else model
    plain = ModelFile.open(source).plain()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        made = to_onnx(plain, folder / "float32.onnx", meta=trained_on(source)).path
        if quantization != "none":
            images = _calibration(data, calibration, seed) if quantization == "onnx-static" else []
            (way,) = candidates.find([quantization])
            made = way.build(candidates.Workshop(plain, made, images, folder)).path
        if protection:
            from holdfast.abft.onnx import protect_onnx

            protect_onnx(made, folder / "protected.onnx", correct=True)
            made = folder / "protected.onnx"
        shutil.copyfile(made, out / "model.onnx")
    size = Record(metric="file_bytes", value=(out / "model.onnx").stat().st_size, unit="B", direction="lower")
    write_records(out / "records.jsonl", [size])


def _calibration(data: Path | str, count: int, seed: int) -> list:  # type: ignore[type-arg]
    from holdfast.data import open as open_data

    training = open_data(data, split="train", seed=seed, limit=count)
    return [x.numpy() for x, _ in training.batches(min(64, count), shuffle=True)]
