"""From the files and folders that a user names to a list of files."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from holdfast.core.errors import DataError, UsageError

Named = str | Path | Sequence[str | Path]


def found_files(named: Named, endings: Iterable[str], *, below: bool = False) -> list[Path]:
    """The files in ``named`` (one, several, or text with commas between) and in the folders there, each once.

    Of a folder, the files with one of ``endings`` in it (with ``below`` in its folders too), by name; other
    paths stay as they are, in their order. Raises UsageError for nothing and for a file named twice,
    DataError for a path that does not exist and for a folder without such files.
    """
    endings = tuple(endings)
    parts: Sequence[str | Path]
    if isinstance(named, str):
        parts = [part for part in named.split(",") if part]
    else:
        parts = [named] if isinstance(named, Path) else named
    found: list[Path] = []
    for path in (Path(part).expanduser() for part in parts):
        if path.is_dir():
            candidates = path.rglob("*") if below else path.iterdir()
            inside = sorted(item for item in candidates if item.suffix.lower() in endings)
            if not inside:
                expected = f"files ending in {', '.join(endings)}"
                raise DataError(str(path), expected=expected, got="none in this folder")
            found += inside
        elif path.is_file():
            found.append(path)
        else:
            raise DataError(
                str(path), expected="a file or a folder", got="no such path", remedy="check the path"
            )
    if not found:
        raise UsageError("files", expected="at least one", got="nothing")
    twice = sorted({str(path) for path in found if found.count(path) > 1})
    if twice:
        raise UsageError("files", expected="each file once", got=f"{', '.join(twice)} twice")
    return found
