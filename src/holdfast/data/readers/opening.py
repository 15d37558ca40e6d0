"""From a path to its reader, by the name's ending and the file's first bytes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from holdfast.core.errors import DataError
from holdfast.data.readers.block import Reader

FORMATS = {
    ".parquet": "parquet",
    ".hdf5": "hdf5",
    ".h5": "hdf5",
    ".npz": "npz",
    ".root": "root",
}
_MAGIC = {"parquet": b"PAR1", "hdf5": b"\x89HDF", "npz": b"PK", "root": b"root"}


def open_reader(
    path: Path | str,
    *,
    image: str | None = None,
    channels: Sequence[str] | None = None,
    units: Sequence[str] | None = None,
) -> Reader:
    """Open a file of detector images, of which only form and metadata are read now.

    Parquet (``X_jets`` or any column of nested lists), HDF5 (``X`` or any array of images), NPZ and ROOT;
    ``image`` names the column, key or branches if several could be meant. ``channels`` and ``units`` say what
    the file does not. Raises UsageError, DataError.
    """
    path = Path(path).expanduser()
    kind = _kind(path)
    given = (tuple(channels) if channels else None, tuple(units) if units else None)
    if kind == "parquet":
        from holdfast.data.readers.parquet import ParquetReader

        return ParquetReader(path, image, *given)
    if kind == "hdf5":
        from holdfast.data.readers.hdf5_file import Hdf5Reader

        return Hdf5Reader(path, image, *given)
    if kind == "npz":
        from holdfast.data.readers.npz import NpzReader

        return NpzReader(path, image, *given)
    from holdfast.data.readers.root import RootReader

    return RootReader(path, image, *given)


def _kind(path: Path) -> str:
    try:
        with path.open("rb") as file:
            start = file.read(4)
    except FileNotFoundError as error:
        raise DataError(str(path), expected="a file", got="no such file", remedy="check the path") from error
    except OSError as error:
        raise DataError(str(path), expected="a file that can be read", got=error.strerror) from error
    for kind, magic in _MAGIC.items():
        if start.startswith(magic):
            return kind
    kind = FORMATS.get(path.suffix.lower(), "")
    expected = f"the first bytes of a {kind} file" if kind else f"one of {', '.join(FORMATS)}"
    got = "an empty file" if not start else f"it starts with {start!r}"
    raise DataError(str(path), expected=expected, got=got, remedy="fetch the file again" if kind else None)
