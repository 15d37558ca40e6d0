"""The same image twice, found in memory that does not grow: hashes partitioned on disk, sorted by part."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from holdfast.data.event_hash import event_hashes

PART_EVENTS = 1 << 21
"""Events that are sorted at once: 46 MB."""
_ENTRY = np.dtype([("hash", "<u8"), ("file", "<u4"), ("row", "<i8"), ("label", "<i2")])
_SHOWN = 20


@dataclass(frozen=True)
class Duplicates:
    """``copies`` events equal an earlier one cell by cell; ``images`` images occur more than once.

    ``across_files`` of the copies are in another file than the first, ``contradictory`` bear another label;
    ``examples`` are (file, row, file, row) of up to 20 pairs. Two different images are taken for equal with a
    probability of n² / 2⁶⁵ (3·10⁻⁸ for a million events).
    """

    copies: int
    images: int
    across_files: int
    contradictory: int
    examples: list[tuple[int, int, int, int]]


def parts_for(events: int) -> int:
    """In how many parts the hashes of ``events`` events are kept."""
    return max(1, -(-events // PART_EVENTS))


class HashFiles:
    """Appends the hashes of one file's events to ``folder``/PART-FILE; ``number`` tells files apart."""

    def __init__(self, folder: Path, number: int, parts: int) -> None:
        self.folder, self.number, self.parts = folder, number, parts

    def add(self, first: int, images: NDArray[np.float32], labels: NDArray[np.int64] | None) -> None:
        """Note ``images`` (n, C, H, W), rows ``first`` on, but none that is zero everywhere."""
        rows = np.flatnonzero(images.any(axis=(1, 2, 3)))
        if len(rows) == 0:
            return
        entries = np.zeros(len(rows), dtype=_ENTRY)
        entries["hash"], entries["file"] = event_hashes(images[rows]), self.number
        entries["row"] = first + rows
        if labels is not None:
            entries["label"] = labels[rows]
        part = entries["hash"] % np.uint64(self.parts)
        for k in np.unique(part):
            with (self.folder / f"{k}-{self.number}").open("ab") as file:
                file.write(entries[part == k].tobytes())


def find_duplicates(folder: Path, parts: int) -> Duplicates:
    """What the files that ``HashFiles`` wrote to ``folder`` have in common, one part in memory at a time."""
    return _sum(_find(sorted(folder.glob(f"{part}-*"))) for part in range(parts))


def _find(paths: list[Path]) -> Duplicates:
    read = [np.fromfile(path, dtype=_ENTRY) for path in paths]
    entries = np.concatenate(read) if read else np.zeros(0, dtype=_ENTRY)
    entries = entries[np.lexsort((entries["row"], entries["file"], entries["hash"]))]
    first = np.flatnonzero(np.append(True, np.diff(entries["hash"]) != 0)[: len(entries)])
    times = np.diff(np.append(first, len(entries)))
    origin = entries[np.repeat(first, times)]
    copy = np.ones(len(entries), dtype=bool)
    copy[first] = False
    a, b = origin[copy], entries[copy]
    pairs = zip(a["file"].tolist(), a["row"].tolist(), b["file"].tolist(), b["row"].tolist(), strict=True)
    return Duplicates(
        copies=len(b),
        images=int((times > 1).sum()),
        across_files=int((a["file"] != b["file"]).sum()),
        contradictory=int((a["label"] != b["label"]).sum()),
        examples=[pair for pair, _ in zip(pairs, range(_SHOWN), strict=False)],
    )


def _sum(found: Iterable[Duplicates]) -> Duplicates:
    copies = images = across = contradictory = 0
    examples: list[tuple[int, int, int, int]] = []
    for each in found:
        copies, images = copies + each.copies, images + each.images
        across, contradictory = across + each.across_files, contradictory + each.contradictory
        examples = sorted([*examples, *each.examples])[:_SHOWN]
    return Duplicates(copies, images, across, contradictory, examples)
