"""Program ``export-c``: a packed network as C source."""

from __future__ import annotations

from pathlib import Path

from holdfast.core.result import Label, Record, write_records

UNITS = {"table_bytes": "B", "arena_bytes": "B", "additions": "1", "multiplications": "1"}


def run(out: Path, *, packed: Path, name: str | None, flash: str) -> None:
    """Write NAME.c, NAME.h and check.c to ``out/source``, and what they take as records.

    Raises DataError for a file that is no packed network, UsageError for a network or a name that C export
    cannot do.
    """
    from holdfast.export import export_c
    from holdfast.subnet import load_packed

    network = load_packed(packed)
    exported = export_c(network, out / "source", name=name, flash=flash)  # type: ignore[arg-type]
    labels: dict[str, Label] = {"model": network.config.name, "flash": flash}
    write_records(
        out / "records.jsonl",
        [
            Record(
                metric=metric, value=getattr(exported, metric), unit=unit, direction="lower", labels=labels
            )
            for metric, unit in UNITS.items()
        ],
    )
