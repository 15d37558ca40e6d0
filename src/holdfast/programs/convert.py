"""Program ``convert``: detector images of any file format into one HDF5 file a split."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from holdfast.core import environment
from holdfast.core.result import Record, write_records
from holdfast.data.conversion import Converted
from holdfast.data.readers import OnCorrupt


def run(
    out: Path,
    *,
    files: Sequence[Path],
    transform: Sequence[Mapping[str, Any]],
    classes: str | None,
    label: str | None,
    image: str | None,
    channels: str | None,
    units: str | None,
    shares: Sequence[float],
    on_corrupt: OnCorrupt,
    workers: int | None,
    seed: int,
) -> None:
    """Write ``out/data``/{train,val,test}.h5 and what was counted; a killed run goes on where it was."""
    from holdfast.core.errors import UsageError
    from holdfast.data.conversion import convert
    from holdfast.data.manifest import image_files

    if len(shares) != 2:
        raise UsageError("shares", expected="two numbers, for train and val", got=shares)
    converted = convert(
        image_files(files),
        out / "data",
        transform=transform,
        classes=_listed(classes),
        label=label,
        image=image,
        channels=_listed(channels),
        units=_listed(units),
        seed=seed,
        shares=(float(shares[0]), float(shares[1])),
        on_corrupt=on_corrupt,
        workers=workers or environment.cores(),
    )
    write_records(out / "records.jsonl", _records(converted, seed))


def _records(converted: Converted, seed: int) -> list[Record]:
    common: dict[str, Any] = {"seed": seed, "simulated": converted.simulated}
    records = [
        Record(
            metric="events",
            value=sum(counts.values()),
            unit="events",
            direction="none",
            labels={"split": split},
            **common,
        )
        for split, counts in converted.counts.items()
    ]
    for metric, count in (
        ("skipped_events", converted.skipped),
        ("duplicate_events", converted.duplicates),
    ):
        records.append(Record(metric=metric, value=count, unit="events", direction="lower", **common))
    for item in converted.evidence:
        records.append(
            Record(
                metric="label_evidence",
                value=item.significance,
                unit="standard deviations",
                direction="higher",
                n=item.n_larger + item.n_smaller,
                labels={
                    "quantity": item.quantity,
                    "labels": "contradict it" if item.contradicts else "do not contradict it",
                },
                message=str(item),
                **common,
            )
        )
    return records


def _listed(text: str | None) -> list[str] | None:
    return [part.strip() for part in text.split(",")] if text else None
