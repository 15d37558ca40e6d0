"""Program ``dataset``: pin down which data a workflow means, whatever they come from."""

from __future__ import annotations

from pathlib import Path

from holdfast.core.errors import UsageError


def run(
    out: Path,
    *,
    source: str,
    simulated: Path | None,
    official: str | None,
    raw: bool,
    limit: int | None,
    seed: int,
) -> None:
    """Write a manifest of ``source`` (a data set's name, or comma-separated paths) to ``out/data``.

    ``source="simulated"`` means the folder ``simulated``; ``"auto"`` means the files of the data set
    ``official`` where they are found below ``HOLDFAST_DATA``, else the folder ``simulated``. The manifest
    holds the hash of every file, so that whatever is computed from it is keyed by content, not by path.
    ``raw`` files (to be converted or explored) are pinned without being opened as a data set.
    """
    from holdfast.data.manifest import write_manifest, write_raw_manifest
    from holdfast.data.official import is_present

    if source == "auto":
        source = official if official is not None and is_present(official) else "simulated"
    if source == "simulated":
        if simulated is None:
            remedy = "give --simulated FOLDER"
            raise UsageError("dataset", expected="the simulated folder", got="none", remedy=remedy)
        source = str(simulated)
    if raw:
        write_raw_manifest(out / "data", source)
    else:
        write_manifest(out / "data", source, limit=limit, seed=seed)
