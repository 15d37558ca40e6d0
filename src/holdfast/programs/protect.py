"""Programs ``protect`` and ``protect-onnx``: a protected model file, and a list of what is protected."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from holdfast.core.paths import write_json
from holdfast.core.result import Record, write_records
from holdfast.programs import model_files
from holdfast.programs.model_files import ModelFile


def run(out: Path, *, model: Path, threshold: str, on_fault: str) -> None:
    """Write ``out/model.safetensors``, which programs load protected, and ``out/layers.json``."""
    from holdfast import protect

    source = ModelFile.open(model)
    plain = source.plain()
    settings = {"threshold": threshold, "on_fault": on_fault}
    _write(out, _layers(protect(plain, **settings)), source.name)
    model_files.save(plain, out / "model.safetensors", source.name, settings, source.data)


def run_onnx(out: Path, *, model: Path, correct: bool) -> None:
    """Write ``out/model.onnx``, which checks itself, and ``out/layers.json``."""
    from holdfast.abft.onnx import protect_onnx

    _, reports = protect_onnx(model, out / "model.onnx", correct=correct)
    _write(out, [report.to_json() for report in reports], model.stem)


def dry_run(model: Path) -> list[dict[str, Any]]:
    """What would be protected of a model file, and what would not and why; nothing is written."""
    if model.suffix == ".onnx":
        from holdfast.abft.onnx import protect_onnx

        return [report.to_json() for report in protect_onnx(model, dry_run=True)[1]]
    from holdfast import protect

    return _layers(protect(ModelFile.open(model).plain()))


def _layers(protected: Any) -> list[dict[str, Any]]:
    """The layers of a protected torch model that are protected, or that multiply and are not."""
    from holdfast.core.protocols import named_layers

    skipped = dict(protected.unprotected)
    checked = set(protected.protected_layers)
    return [
        {
            "layer": name,
            "type": type(layer).__name__,
            "protected": name not in skipped,
            "reason": skipped.get(name),
        }
        for name, layer in named_layers(protected)
        if name in skipped or name in checked
    ]


def _write(out: Path, layers: list[dict[str, Any]], name: str) -> None:
    write_json(out / "layers.json", layers)
    record = Record(
        metric="protected_layers",
        value=sum(layer["protected"] for layer in layers),
        unit="layers",
        direction="higher",
        n=len(layers),
        labels={"model": name, "protection": "protected"},
    )
    write_records(out / "records.jsonl", [record])
