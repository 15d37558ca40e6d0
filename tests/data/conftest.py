from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest


def showers(n: int, label: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Images that pass all checks and number themselves: the time of crystal [0, 0] holds event + n·label."""
    rng = np.random.default_rng(seed + label)
    images = np.zeros((n, 32, 32, 2), dtype=np.float32)
    images[:, 16, 16, 0] = 0.9
    images[:, 16, 17, 0] = rng.uniform(0.05, 0.1, n)
    images[:, 16, 20, 0] = label * rng.uniform(0.05, 0.1, n)
    images[:, 0, 0, 1] = np.arange(n) + n * label
    return images, np.full(n, label, dtype=np.float32)


@pytest.fixture
def write() -> Callable[..., Path]:
    """Write arrays as an ML4SCI file."""

    def write_file(path: Path, images: np.ndarray, labels: np.ndarray, **attributes: object) -> Path:
        with h5py.File(path, "w") as file:
            file.create_dataset(
                "X", data=images, compression="lzf", chunks=(min(64, len(images)), *images.shape[1:])
            )
            file.create_dataset("y", data=labels)
            file.attrs.update(attributes)
        return path

    return write_file


@pytest.fixture
def two_files(tmp_path, write) -> Path:
    """A folder with 301 electrons and 301 photons, each class in a file of its own."""
    folder = tmp_path / "showers"
    folder.mkdir()
    write(folder / "SingleElectron.hdf5", *showers(301, 1), simulated=True)
    write(folder / "SinglePhoton.hdf5", *showers(301, 0), simulated=True)
    return folder


@pytest.fixture
def make_showers() -> Callable[..., tuple[np.ndarray, np.ndarray]]:
    return showers


@pytest.fixture
def real_data() -> Path:
    """The first folder of HOLDFAST_DATA; skips without it."""
    from holdfast.core.paths import data_roots

    roots = [root for root in data_roots() if root.is_dir()]
    if not roots:
        pytest.skip("HOLDFAST_DATA names no folder with official data")
    return roots[0]
