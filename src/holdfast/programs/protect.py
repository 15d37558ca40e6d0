"""Program ``protect``: a model file that comes back protected, and a list of what is protected."""

from __future__ import annotations

from pathlib import Path

from holdfast.core.paths import write_json
from holdfast.core.result import Record, write_records
from holdfast.programs import model_files
from holdfast.programs.model_files import ModelFile


def run(out: Path, *, model: Path, threshold: str, on_fault: str) -> None:
    """Write ``out/model.safetensors``, which programs load protected, and ``out/layers.json``."""
    from holdfast import models, protect
    from holdfast.core.protocols import named_layers

    plain = models.load(model)
    settings = {"threshold": threshold, "on_fault": on_fault}
    protected = protect(plain, **settings)
    skipped = dict(protected.unprotected)
    layers = [
        {
            "layer": name,
            "type": type(layer).__name__,
            "protected": name not in skipped,
            "reason": skipped.get(name),
        }
        for name, layer in named_layers(protected)
        if name in skipped or any(True for _ in layer.parameters(recurse=False))
    ]
    write_json(out / "layers.json", layers)
    source = ModelFile.open(model)
    model_files.save(plain, out / "model.safetensors", source.name, settings)
    count = len(protected.protected_layers)
    record = Record(
        metric="protected_layers",
        value=count,
        unit="layers",
        direction="higher",
        n=count + len(skipped),
        labels={"model": source.name, "protection": "protected"},
    )
    write_records(out / "records.jsonl", [record])
