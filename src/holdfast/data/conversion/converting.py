"""The conversion as a whole: plan, pieces in parallel, what is learnt from them, and a file a split."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from holdfast.core.errors import DataError
from holdfast.core.progress import progress
from holdfast.data.conversion import assembly, evidence, layout, planning
from holdfast.data.conversion.evidence import Evidence
from holdfast.data.conversion.pieces import Found, make, read_found
from holdfast.data.conversion.work import executor_of, finished, held
from holdfast.data.readers import OnCorrupt
from holdfast.data.transforms import Moments, Pipeline


@dataclass(frozen=True)
class Converted:
    """What a conversion made: events by split and class, what was left out, and what was noticed.

    ``duplicates`` events have the very image of another one (both are kept, in one split); ``resumed`` pieces
    of ``pieces`` were found done by an earlier run that did not end.
    """

    folder: Path
    counts: dict[str, dict[str, int]]
    skipped: int
    duplicates: int
    evidence: tuple[Evidence, ...]
    simulated: bool
    pieces: int
    resumed: int

    @property
    def n(self) -> int:
        """Events in all splits."""
        return sum(sum(counts.values()) for counts in self.counts.values())


def convert(
    files: Sequence[Path | str] | Path | str,
    folder: Path | str,
    *,
    transform: Pipeline | Sequence[Mapping[str, Any]] | None = None,
    classes: Sequence[str] | None = None,
    label: str | None = None,
    image: str | None = None,
    channels: Sequence[str] | None = None,
    units: Sequence[str] | None = None,
    seed: int = 0,
    shares: tuple[float, float] = (0.7, 0.15),
    on_corrupt: OnCorrupt = "stop",
    workers: int = 1,
    executor: Executor | None = None,
) -> Converted:
    """Convert ``files`` (Parquet, HDF5, NPZ, ROOT; or folders of them) to ``folder``/{train,val,test}.h5.

    ``transform`` is applied to every image; a step that learns learns from train alone. ``shares`` of the
    events go to train and val by a hash of ``seed`` and their untransformed image: neither order, nor another
    file, nor a rerun moves an event. ``classes`` name the labels 0, 1, … of the column ``label``; ``image``,
    ``channels`` and ``units`` say what files do not.

    At most about 200 MB a process are used whatever the size of the files; ``workers`` processes, or
    ``executor`` in their place, do not change the result. A killed conversion goes on where it was; one that
    ended is recognised. While it runs, ``folder``/.convert holds the converted events once more. Warns where
    the labels contradict physics. Raises UsageError, DataError, StorageError.
    """
    folder = Path(folder).expanduser()
    pipeline = transform if isinstance(transform, Pipeline) else Pipeline.from_json(transform)
    plan = planning.plan(
        files,
        pipeline,
        classes=tuple(classes) if classes else None,
        label=label,
        image=image,
        channels=tuple(channels) if channels else None,
        units=tuple(units) if units else None,
        seed=seed,
        shares=shares,
        on_corrupt=on_corrupt,
    )
    with held(folder, plan.key) as work:
        done = finished(folder, plan.key)
        if done is not None:
            return _told(_result(folder, done, resumed=len(plan.pieces)))
        with executor_of(workers, executor) as pool:
            with progress("convert", len(plan.pieces), "pieces") as advance:
                resumed = work.make_pieces(plan, make, pool, advance)
            found = [read_found(work.part(number)) for number in range(len(plan.pieces))]
            header = _header(plan, found, resumed)
            with progress("write", len(layout.SPLITS), "files") as advance:
                after = Pipeline.from_json(header["transform"]).steps[len(plan.before) :]
                assembly.write(folder, work.parts(plan), after, header, pool, advance)
    return _told(_result(folder, header, resumed))


def _header(plan: planning.Plan, found: Sequence[Found], resumed: int) -> dict[str, Any]:
    """What all three files say of the conversion."""
    counts: dict[str, dict[str, int]] = {split: {} for split in layout.SPLITS}
    skipped = [0] * len(plan.sources)
    moments: Moments | None = None
    for piece, part in zip(plan.pieces, found, strict=True):
        skipped[piece.source] += part.skipped
        for split, by_label in part.counts.items():
            for label, count in by_label.items():
                counts[split][label] = counts[split].get(label, 0) + count
        if part.moments is not None:
            moments = part.moments if moments is None else moments.merged(part.moments)
    labels = {int(label) for by_label in counts.values() for label in by_label}
    if not labels:
        raise DataError("conversion", expected="at least one event", got="none that can be read")
    classes = plan.classes or tuple(f"class {number}" for number in range(max(labels) + 1))
    pipeline = plan.pipeline.with_learnt(moments)
    outgoing = pipeline.outgoing(plan.incoming)
    return {
        "layout": layout.LAYOUT,
        "name": plan.name,
        "channels": outgoing.channels,
        "units": outgoing.units,
        "classes": classes,
        "transform": pipeline.to_json(),
        "simulated": plan.simulated,
        "sources": [
            {**source, "skipped": count} for source, count in zip(plan.sources, skipped, strict=True)
        ],
        "conversion": {**plan.settings, "key": plan.key, "pieces": len(plan.pieces)},
        "evidence": [
            item.to_json()
            for item in evidence.judged(evidence.merged(part.sums for part in found), tuple(classes))
        ],
        "counts": {
            split: {name: by_label.get(str(number), 0) for number, name in enumerate(classes)}
            for split, by_label in counts.items()
        },
    }


def _result(folder: Path, header: Mapping[str, Any], resumed: int) -> Converted:
    return Converted(
        folder=folder,
        counts={split: dict(counts) for split, counts in header["counts"].items()},
        skipped=sum(source["skipped"] for source in header["sources"]),
        duplicates=sum(assembly.duplicates(folder / f"{split}.h5") for split in layout.SPLITS),
        evidence=tuple(Evidence(**item) for item in header["evidence"]),
        simulated=bool(header["simulated"]),
        pieces=header["conversion"]["pieces"],
        resumed=resumed,
    )


def _told(result: Converted) -> Converted:
    """Warn of what the user should know."""
    for item in result.evidence:
        if item.contradicts:
            warnings.warn(
                f"the labels of {result.folder} look swapped: {item}; if they are, convert again with the "
                f"classes in the other order",
                stacklevel=3,
            )
    if result.duplicates:
        warnings.warn(
            f"{result.duplicates} events in {result.folder} have the same image as another one; "
            "they were kept, each beside its twin in one split",
            stacklevel=3,
        )
    return result
