"""From what a user names (a data set, files, a folder, a manifest) to the table behind it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from holdfast.core.errors import UsageError
from holdfast.core.registry import Registry
from holdfast.data.cifar import cifar10, cifar100
from holdfast.data.conversion.layout import is_converted
from holdfast.data.converted import ConvertedTable
from holdfast.data.digits import digits
from holdfast.data.files import found_files
from holdfast.data.folder import ImageFolder, is_image_folder
from holdfast.data.hdf5 import SUFFIXES, ShowerTable
from holdfast.data.mnist import mnist
from holdfast.data.official import official_files
from holdfast.data.table import Table

Source = str | Path | Sequence[str | Path]

data_sets: Registry[Callable[[], Table]] = Registry("data set", "data_sets")
"""Data sets by name; a plugin registers a function without arguments that returns a Table."""


def _egamma() -> Table:
    return ShowerTable(official_files("ml4sci-egamma"))


for _name, _make in (
    ("digits", digits),
    ("mnist", mnist),
    ("cifar10", cifar10),
    ("cifar100", cifar100),
    ("ml4sci-egamma", _egamma),
):
    data_sets.register(_name)(_make)


def table(source: Source, image_size: int | None = None) -> Table:
    """The table of a name, of a folder laid out as ImageNet is, of converted data, or of ML4SCI files.

    These are given one by one, comma-separated or as folders. Names go before paths. ``image_size`` is for
    folders as ImageNet's alone. Raises UnknownNameError, UsageError, DataError.
    """
    name = named(source)
    folder = Path(source).expanduser() if name is None and isinstance(source, str | Path) else None
    if folder is not None and is_image_folder(folder):
        return ImageFolder(folder) if image_size is None else ImageFolder(folder, image_size)
    if folder is not None and is_converted(folder) and image_size is None:
        return ConvertedTable(folder)
    if image_size is not None:
        raise UsageError("image_size", expected="a folder with train/CLASS/*.JPEG", got=str(source))
    return ShowerTable(files(source)) if name is None else data_sets.get(name)()


def named(source: Source) -> str | None:
    """The name in ``source`` if it is a data set's and not a path. Raises UnknownNameError for neither."""
    if not isinstance(source, str):
        return None
    if source in data_sets:
        return source
    parts = [Path(part).expanduser() for part in source.split(",") if part]
    looks_like_path = "/" in source or source.endswith(SUFFIXES)
    if not parts or not (looks_like_path or any(part.exists() for part in parts)):
        data_sets.get(source)  # raises, listing the names
    return None


def files(source: Source) -> list[Path]:
    """The ML4SCI files that ``source`` means: see ``found_files``."""
    return found_files(source, SUFFIXES)
