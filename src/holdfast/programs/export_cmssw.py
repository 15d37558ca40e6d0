"""Programs ``export-onnx`` and ``export-cmssw``: a model as an ONNX file, and as a CMSSW package."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from holdfast.core.errors import UsageError
from holdfast.core.result import Label, Record, write_records
from holdfast.programs.model_files import ModelFile


def run_onnx(out: Path, *, model: Path) -> None:
    """Write ``out/model.onnx`` and how far its logits are from PyTorch's."""
    from holdfast.export import to_onnx

    file = ModelFile.open(model)
    made = to_onnx(file.plain(), out / "model.onnx", meta=trained_on(model))
    write_records(out / "records.jsonl", _records(made.path, made.difference, {"model": file.name}))


def run(
    out: Path,
    *,
    model: Path,
    package: str,
    transform: list[dict[str, Any]] | None,
    cmssw: str,
    rows: int,
    columns: int,
    channels: str | None,
) -> None:
    """Write the package below ``out/src``. ``model`` is a model file or an ONNX file."""
    from holdfast.export import export_cmssw

    onnx = model.suffix == ".onnx"
    if transform is not None and not isinstance(transform, list):
        raise UsageError("--transform", expected="a list of steps", got=transform)
    file = None if onnx else ModelFile.open(model)
    made = export_cmssw(
        file.plain() if file else model,
        out / "src",
        package=package,
        data=trained_on(model),
        transform=transform,
        release=cmssw,
        rows=rows,
        columns=columns,
        channels=channels.split(",") if channels else None,
        title=file.name if file else model.name,
    )
    labels: dict[str, Label] = {
        "model": file.name if file else model.stem,
        "package": package,
        "cmssw": cmssw,
    }
    write_records(out / "records.jsonl", _records(made.network.path, made.network.difference, labels))


def trained_on(path: Path) -> dict[str, Any]:
    """What a model file or an ONNX file says of the data that its model was trained on."""
    if path.suffix == ".onnx":
        from holdfast.export.onnx import read_meta

        return read_meta(path)
    if ModelFile.open(path).format is not None:
        return {}
    from holdfast import models

    return dict(models.read_meta(path).get("data") or {})


def _records(path: Path, difference: float | None, labels: dict[str, Label]) -> list[Record]:
    records = [
        Record(metric="file_bytes", value=path.stat().st_size, unit="B", direction="lower", labels=labels)
    ]
    if difference is not None:
        records.append(
            Record(metric="logit_difference", value=difference, unit="1", direction="lower", labels=labels)
        )
    return records
