"""Program ``dataset``: pin down which data a workflow means, whatever they come from."""

from __future__ import annotations

from pathlib import Path

from holdfast.core.errors import UsageError


def run(out: Path, *, source: str, simulated: Path | None, limit: int | None, seed: int) -> None:
    """Write a manifest of ``source`` (a data set's name, or comma-separated paths) to ``out/data``.

    ``source="simulated"`` means the folder ``simulated``. The manifest holds the hash of every file, so that
    whatever is computed from it is keyed by content, not by path.
    """
    from holdfast.data.manifest import write_manifest

    if source == "simulated":
        if simulated is None:
            remedy = "give --simulated FOLDER"
            raise UsageError("dataset", expected="the simulated folder", got="none", remedy=remedy)
        source = str(simulated)
    write_manifest(out / "data", source, limit=limit, seed=seed)
