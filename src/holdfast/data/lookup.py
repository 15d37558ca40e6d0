"""Where the files of official data sets are found: below the folders of ``$HOLDFAST_DATA``, or installed."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from holdfast.core.errors import DataError
from holdfast.core.paths import data_roots, find_data


def find(data_set: str, names: Iterable[str]) -> Path:
    """The first of ``names`` (relative) below a data root or in an installed package. Raises DataError."""
    names = list(names)
    found = find_data(names)
    if found is not None:
        return found
    roots = data_roots()
    raise DataError(
        f"data set {data_set!r}",
        expected=f"{names[0]} below a folder of HOLDFAST_DATA",
        got=f"nothing below {', '.join(map(str, roots))}" if roots else "HOLDFAST_DATA unset",
        remedy="put the official files in a folder and set HOLDFAST_DATA to it, or see holdfast list package",
    )
