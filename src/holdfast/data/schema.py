"""Checks of files in the ML4SCI layout: form, values, units, seed position, label convention."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from holdfast.core.errors import DataError

SIZE, SEED = 32, 16
ENERGY_UNIT_GEV = 50.0
LAYOUT = "keys X (N, 32, 32, 2) float32 and y (N,)"

_SAMPLE_BLOCKS, _SAMPLE_ROWS = 8, 256
# Images of single particles sum to 1 to 1.9 units; a factor 8 either way is another unit.
_SUM_RANGE = (0.13, 16.0)
_SEED_SHARE = 0.8  # of the published images 97 % have their hottest crystal at [16, 16]
_SIGNIFICANCE = 5.0


@dataclass(frozen=True)
class Sample:
    """Labels and phi widths, both (k,), of a sample of a file's images."""

    path: Path
    labels: NDArray[np.int64]
    phi_width: NDArray[np.float64]


@dataclass(frozen=True)
class Inspected:
    """What was found in a file: labels (N,) int64 of all events, a sample, whether it is simulated."""

    labels: NDArray[np.int64]
    sample: Sample
    simulated: bool


def inspect(path: Path) -> Inspected:
    """Check one file. Raises DataError that says what is wrong with it.

    Form and labels are checked on all events, values on a sample of up to 2048 spread over the file.
    """
    with reading(path), h5py.File(path, "r") as file:
        _check_form(path, file)
        labels = _labels(path, file["y"][:])
        images = file["X"]
        n = len(labels)
        starts = np.unique(np.linspace(0, max(n - _SAMPLE_ROWS, 0), _SAMPLE_BLOCKS).astype(int))
        blocks = [np.arange(start, min(start + _SAMPLE_ROWS, n)) for start in starts]
        rows = np.unique(np.concatenate(blocks))
        values = np.concatenate([images[block[0] : block[-1] + 1] for block in blocks])
        values = values[np.unique(np.concatenate(blocks), return_index=True)[1]]
        simulated = bool(file.attrs.get("simulated", False))
    check_finite(path, values, rows)
    energy = values[..., 0].astype(np.float64)
    _check_scale(path, energy)
    _check_seed(path, energy)
    _check_name(path, labels)
    return Inspected(labels, Sample(path, labels[rows], phi_width(energy)), simulated)


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn what h5py raises for a truncated or foreign file into a DataError."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        raise DataError(
            str(path),
            expected="a whole HDF5 file",
            got=str(error),
            remedy="fetch or write the file again",
        ) from error


def check_finite(path: Path, values: NDArray[np.float32], rows: NDArray[np.int64]) -> None:
    """Raise DataError naming the first of ``rows`` whose image in ``values`` (k, …) holds NaN or infinity."""
    if np.isfinite(values).all():
        return
    bad = ~np.isfinite(values.reshape(len(values), -1)).all(axis=1)
    raise DataError(
        f"{path}, event {rows[np.argmax(bad)]}",
        expected="finite energies and times",
        got=f"NaN or infinity in {bad.sum()} of {len(values)} images",
        remedy="remove these events",
    )


def phi_width(energy: NDArray[np.float64]) -> NDArray[np.float64]:
    """Second moment in crystals² about the seed along phi, over five eta rows: (k, 32, 32) → (k,)."""
    line = energy[:, SEED - 2 : SEED + 3].sum(axis=1)
    steps = np.arange(SIZE) - SEED
    width: NDArray[np.float64] = (line * steps**2).sum(axis=1) / np.maximum(line.sum(axis=1), 1e-9)
    return width


def check_label_convention(samples: Sequence[Sample]) -> None:
    """Raise DataError if the images labelled electrons (1) are narrower along phi than the others.

    Bremsstrahlung in the magnetic field widens electrons. Decided by the Mann-Whitney statistic at five
    standard deviations; with too few events, or one class only, nothing is said.
    """
    from scipy.stats import rankdata

    labels = np.concatenate([sample.labels for sample in samples])
    width = np.concatenate([sample.phi_width for sample in samples])
    m, n = int(np.sum(labels == 1)), int(np.sum(labels == 0))
    if m == 0 or n == 0:
        return
    rank_sum = rankdata(width)[labels == 1].sum()
    auc = (rank_sum - m * (m + 1) / 2) / (m * n)
    z = (auc - 0.5) / np.sqrt((m + n + 1) / (12 * m * n))
    if z < -_SIGNIFICANCE:
        raise DataError(
            ", ".join(str(sample.path) for sample in samples),
            expected="label 1 for electrons, which are wider along phi than photons",
            got=f"images of label 1 that are narrower by {-z:.0f} standard deviations",
            remedy="the labels look swapped: write y = 1 - y",
        )


def _check_form(path: Path, file: h5py.File) -> None:
    missing = {"X", "y"} - {key for key in file if isinstance(file[key], h5py.Dataset)}
    if missing:
        raise DataError(str(path), expected=LAYOUT, got=f"keys {', '.join(sorted(file)) or 'none'}")
    images, labels = file["X"], file["y"]
    if images.ndim != 4 or images.shape[1:] != (SIZE, SIZE, 2):
        raise DataError(f"{path}, X", expected=f"shape (N, {SIZE}, {SIZE}, 2)", got=images.shape)
    if images.dtype != np.float32:
        raise DataError(f"{path}, X", expected="float32 in units of 50 GeV and 50 ns", got=images.dtype)
    if labels.shape != images.shape[:1]:
        raise DataError(
            f"{path}, y", expected=f"shape ({len(images)},), one label an image", got=labels.shape
        )
    if labels.dtype.kind not in "fiu":
        raise DataError(f"{path}, y", expected="numbers (float32)", got=labels.dtype)
    if len(images) == 0:
        raise DataError(str(path), expected="at least one event", got="none")


def _labels(path: Path, values: NDArray[np.float32]) -> NDArray[np.int64]:
    bad = ~np.isin(values, (0, 1))
    if bad.any():
        raise DataError(
            f"{path}, y",
            expected="labels 1 (electron) and 0 (photon)",
            got=f"{values[bad][0]} at event {np.argmax(bad)}",
        )
    return values.astype(np.int64)


def _check_scale(path: Path, energy: NDArray[np.float64]) -> None:
    if energy.min() < -1:
        raise DataError(f"{path}, X", expected="energies >= 0", got=f"{energy.min():.3g} (unit 50 GeV)")
    middle = float(np.median(energy.sum(axis=(1, 2))))
    if not _SUM_RANGE[0] < middle < _SUM_RANGE[1]:
        raise DataError(
            f"{path}, X",
            expected="energies / 50 GeV, which sum to 1 to 2 an image",
            got=f"a median sum of {middle:.3g}",
            remedy="divide energies in GeV by 50" if middle > 1 else "check the unit",
        )


def _check_seed(path: Path, energy: NDArray[np.float64]) -> None:
    hottest = energy.reshape(len(energy), -1).argmax(axis=1)
    share = float(np.mean(hottest == SEED * SIZE + SEED))
    # One image in five may miss by noise; with few images allow for chance.
    if share < _SEED_SHARE - 2 / np.sqrt(len(hottest)):
        row, column = divmod(int(np.bincount(hottest).argmax()), SIZE)
        raise DataError(
            f"{path}, X",
            expected="the hottest crystal of an image at [16, 16]",
            got=f"it there in {share:.0%} of images, most often at [{row}, {column}]",
            remedy="crop around the seed crystal again",
        )


def _check_name(path: Path, labels: NDArray[np.int64]) -> None:
    for particle, label in (("electron", 1), ("photon", 0)):
        if particle in path.name.lower() and np.all(labels != label):
            raise DataError(
                f"{path}, y",
                expected=f"label {label} in a file of {particle}s",
                got=f"only {1 - label}",
                remedy="electrons are 1 and photons 0: correct y or the file's name",
            )
