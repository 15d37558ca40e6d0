"""Program ``explore``: what is in files of detector images, as a page, records and summary.json."""

from __future__ import annotations

from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import ExitStack
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

from holdfast.core.paths import write_json
from holdfast.core.progress import progress
from holdfast.core.result import write_records

if TYPE_CHECKING:
    from holdfast.data.readers import OnCorrupt


def run(
    out: Path,
    *,
    files: list[Path],
    on_corrupt: OnCorrupt,
    image: str | None,
    channels: str | None,
    units: str | None,
    workers: int,
) -> None:
    """Read every event of ``files`` once; write page, summary, images and records to ``out``.

    A folder stands for the files in it. ``image``, ``channels`` and ``units`` say what the files do not. A
    damaged file or row stops it, with ``on_corrupt="skip"`` it is counted.
    Raises UsageError, DataError.
    """
    from holdfast.data.manifest import image_files
    from holdfast.data.survey import survey
    from holdfast.programs import explore_page, explore_summary

    paths = image_files(files, below=True)
    with ExitStack() as stack:
        executor: Executor | None = None
        if workers > 1:
            # Forked copies of a process that uses OpenMP threads may hang.
            executor = stack.enter_context(ProcessPoolExecutor(workers, mp_context=get_context("spawn")))
        advance = stack.enter_context(progress("explore", None, "events"))
        found = survey(
            paths,
            on_corrupt=on_corrupt,
            image=image,
            channels=comma_separated(channels),
            units=comma_separated(units),
            executor=executor,
            ahead=2 * workers,
            scratch=out,
            advance=advance,
        )
    explore_summary.write_arrays(found, out / "images.npz")
    summary: dict[str, Any] = explore_summary.summarise(found)
    write_json(out / "summary.json", summary)
    write_records(out / "records.jsonl", explore_summary.records(found))
    explore_page.write_page(found, out / "explore.html")


def comma_separated(given: str | None) -> list[str] | None:
    """The parts of a text between commas; None stays None."""
    return [part.strip() for part in given.split(",")] if given else None
