"""Where the files of official data sets are found: below the folders of ``$HOLDFAST_DATA``."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from holdfast.core.errors import DataError
from holdfast.core.paths import data_roots


def find(data_set: str, names: Iterable[str]) -> Path:
    """The first of ``names`` (relative paths) that exists below a data root. Raises DataError."""
    names = list(names)
    roots = data_roots()
    for root in roots:
        for name in names:
            if (root / name).exists():
                return root / name
    raise DataError(
        f"data set {data_set!r}",
        expected=f"{names[0]} below a folder of HOLDFAST_DATA",
        got=f"nothing below {', '.join(map(str, roots))}" if roots else "HOLDFAST_DATA unset",
        remedy="put the official files in a folder and set HOLDFAST_DATA to it",
    )
