"""ROOT files: images in the branches of a tree, read through uproot (extra ``root``)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from math import isqrt
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from holdfast.core.errors import DataError, UsageError
from holdfast.data.readers.block import LABELS, Block, Reader, named_channels

_MIN_CELLS = 16


class RootReader(Reader):
    """A TTree whose branches hold images: fixed arrays (C, H, W), (H, W), or flat ones of a square's cells.

    Flat arrays and vectors, as the end-to-end ntuples have (``ECAL_energy``), count as square images; several
    branches of one size are the channels. ``image`` is "tree:branch,branch" or part of it. Needs the extra
    ``root``. Raises UsageError and DataError.
    """

    kind = "root"

    def __init__(
        self,
        path: Path,
        image: str | None = None,
        channels: tuple[str, ...] | None = None,
        units: tuple[str, ...] | None = None,
    ) -> None:
        self.path = path
        tree_name, _, asked = (image or "").rpartition(":")
        wanted = [name for name in asked.split(",") if name]
        with _reading(path) as file:
            trees = [
                key.split(";")[0]
                for key, kind in file.classnames().items()
                if kind in ("TTree", "TNtuple", "TNtupleD") or "RNTuple" in kind
            ]
            self.tree = _tree(path, list(dict.fromkeys(trees)), tree_name)
            tree = file[self.tree]
            self.rows = int(tree.num_entries)
            shapes = {name: self._branch_shape(tree, name) for name in (wanted or tree.keys())}
            self.branches = _branches(path, shapes, wanted)
            self._shapes = [shapes[name] for name in self.branches]
            self.types = {
                name: np.dtype(kind).newbyteorder("=").str
                for name in tree.keys()  # noqa: SIM118 - a tree is no dictionary
                if name not in self.branches and (kind := _scalar(tree[name])) is not None
            }
        kinds = {shape[-2:] for shape in self._shapes if shape}
        self.shape = None
        if len(kinds) == 1:
            height, width = kinds.pop()
            self.shape = (sum(shape[0] for shape in self._shapes if shape), height, width)
        known = self.branches if self.shape and self.shape[0] == len(self.branches) else None
        self.channels = named_channels(path, self.shape, channels, known, "channels")
        self.units = named_channels(path, self.shape, units, None, "units")
        self.label = next((name for name in LABELS if name in self.columns), None)
        self.classes, self.simulated = None, False

    def _branch_shape(self, tree: Any, name: str) -> tuple[int, int, int] | None:
        """(C, H, W) of a branch's first entry, None if it is no image."""
        try:
            if not self.rows or _scalar(tree[name]) is not None:
                return None
            first = np.asarray(tree[name].array(entry_start=0, entry_stop=1, library="np")[0])
        except KeyError as error:
            got = ", ".join(tree.keys())
            raise DataError(f"{self.path}, {self.tree}", expected=f"a branch {name}", got=got) from error
        except Exception:  # uproot may raise nearly anything for a branch it cannot read
            return None
        return _shape_of(first)

    def _blocks(self, rows: int, start: int, stop: int, skip: bool) -> Iterator[Block]:
        with _reading(self.path) as file:
            tree = file[self.tree]
            for low in range(start, stop, rows):
                yield from self._block(tree, low, min(low + rows, stop), skip)

    def _block(self, tree: Any, low: int, high: int, skip: bool) -> Iterator[Block]:
        try:
            names = [*self.branches, *self.columns]
            read = tree.arrays(names, entry_start=low, entry_stop=high, library="np")
            parts = [_stacked(read[name]) for name in self.branches]
            images = np.ascontiguousarray(np.concatenate(parts, axis=1), dtype=np.float32)
        except Exception as error:  # uproot may raise nearly anything for damage
            if high - low > 1:
                middle = (low + high) // 2
                yield from self._block(tree, low, middle, skip)
                yield from self._block(tree, middle, high, skip)
            elif skip:
                yield self.skipped(low, 1)
            else:
                raise DataError(
                    f"{self.path}, {self.tree}, entry {low}",
                    expected="whole images of one size in all branches",
                    got=f"{type(error).__name__}: {error}".splitlines()[0],
                    remedy="fetch or write the file again, or skip what cannot be read (on_corrupt=skip)",
                ) from error
        else:
            yield Block(low, images, {name: np.asarray(read[name]) for name in self.columns})


def _shape_of(entry: NDArray[Any]) -> tuple[int, int, int] | None:
    if entry.dtype.kind not in "fiu":
        return None
    if entry.ndim == 3:
        return (entry.shape[0], entry.shape[1], entry.shape[2])
    if entry.ndim == 2:
        return (1, entry.shape[0], entry.shape[1])
    side = isqrt(entry.size)
    return (1, side, side) if entry.ndim == 1 and entry.size >= _MIN_CELLS and side**2 == entry.size else None


def _stacked(values: NDArray[Any]) -> NDArray[Any]:
    """Entries (n, C, H, W) of one branch. Raises ValueError if they differ in shape."""
    dense = np.stack(list(values)) if values.dtype == object else values
    shape = _shape_of(dense[0])
    if shape is None:
        raise ValueError(f"an entry of shape {dense.shape[1:]}")
    return dense.reshape(len(dense), *shape)


def _tree(path: Path, trees: list[str], asked: str) -> str:
    if asked in trees:
        return asked
    if not asked and len(trees) == 1:
        return trees[0]
    raise DataError(
        str(path),
        expected=f"a tree {asked}" if asked else "one tree",
        got=", ".join(trees) or "no tree",
        remedy="name one (image=TREE:BRANCH)" if trees else None,
    )


def _branches(path: Path, shapes: dict[str, Any], wanted: list[str]) -> tuple[str, ...]:
    found = {name: shape for name, shape in shapes.items() if shape is not None}
    if wanted and len(found) == len(wanted):
        return tuple(wanted)
    if not wanted and len({shape[-2:] for shape in found.values()}) == 1:
        return tuple(found)
    raise DataError(
        str(path),
        expected=f"images in {', '.join(wanted)}" if wanted else "branches with images of one size",
        got=", ".join(f"{name} {shape}" for name, shape in found.items()) or "no branch with images",
        remedy="name the branches (image=TREE:BRANCH,BRANCH)" if found else None,
    )


def _scalar(branch: Any) -> np.dtype[Any] | None:
    """The type of a branch with one number an entry, None for any other."""
    kind = getattr(branch.interpretation, "to_dtype", None)
    plain = isinstance(kind, np.dtype) and kind.subdtype is None and kind.kind in "fiub"
    return kind if plain else None


@contextmanager
def _reading(path: Path) -> Iterator[Any]:
    try:
        import uproot
    except ImportError as error:
        raise UsageError(
            str(path), expected="uproot", got="no module uproot", remedy="install holdfast[root]"
        ) from error
    try:
        file = uproot.open(path)
    except Exception as error:  # uproot may raise nearly anything for damage
        raise DataError(
            str(path),
            expected="a whole ROOT file",
            got=f"{type(error).__name__}: {error}".splitlines()[0],
            remedy="the file is truncated or damaged: fetch it again",
        ) from error
    with file:
        yield file
