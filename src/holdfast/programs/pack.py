"""Program ``pack``: a subnetwork as the small file that is shipped."""

from __future__ import annotations

from pathlib import Path

from holdfast.core.result import Label, Record, write_records
from holdfast.programs.model_files import ModelFile


def run(out: Path, *, subnetwork: Path, explicit_signs: bool, drop_dead_channels: bool) -> None:
    """Write ``out/network.packed`` and how many bytes and weights it has."""
    from holdfast import subnet

    found = subnet.Subnetwork.load(subnetwork)
    name = ModelFile.open(subnetwork).name
    packed = found.pack(explicit_signs=explicit_signs, meta={"name": name})
    if drop_dead_channels:
        packed = subnet.without_dead_channels(packed)
    packed.save(out / "network.packed")
    write_records(out / "records.jsonl", size_records(packed, name))


def size_records(packed: object, name: str) -> list[Record]:
    """Bytes of the file, and the weights that it keeps of those that there are."""
    from holdfast.subnet import Packed

    assert isinstance(packed, Packed)
    labels: dict[str, Label] = {"model": name, "protection": "plain"}
    of = sum(layer.mask.size for layer in packed.layers)
    sizes = (("file_size", packed.nbytes, "bytes", None), ("kept_weights", packed.kept, "weights", of))
    return [
        Record(metric=metric, value=value, unit=unit, direction="lower", n=n, labels=labels)
        for metric, value, unit, n in sizes
    ]
