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

    if source == "simulated" and simulated is None:
        raise UsageError(
            "dataset", expected="the simulated folder", got="none", remedy="give --simulated FOLDER"
        )
    paths = [Path(part) for part in source.split(",")]
    if source == "simulated":
        where: object = simulated
    elif all(path.exists() for path in paths):
        where = paths
    else:
        where = source
    write_manifest(out / "data", where, limit=limit, seed=seed)
