"""Bad data end a run with one clear line and the documented exit code, whatever is wrong with them."""

import shutil
import subprocess

import h5py
import numpy as np
import pytest

from holdfast.data.simulate import simulate


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Folder with 400 simulated images in two files."""
    folder = tmp_path_factory.mktemp("images")
    simulate(folder, events=400, seed=3)
    return folder


@pytest.fixture(scope="module")
def swapped(tmp_path_factory):
    """Folder with 6,000 simulated images whose labels say the opposite."""
    folder = tmp_path_factory.mktemp("swapped")
    simulate(folder, events=6000, seed=4)
    for path in folder.glob("*.hdf5"):
        rewrite(path, lambda x, y: (x, 1 - y))
    return folder


def rewrite(path, change):
    """Replace X and y of a file by what ``change`` makes of them."""
    with h5py.File(path, "r") as file:
        x, y, attributes = file["X"][:], file["y"][:], dict(file.attrs)
    x, y = change(x, y)
    with h5py.File(path, "w") as file:
        file.attrs.update(attributes)
        file.create_dataset("X", data=x, chunks=(64, *x.shape[1:]), compression="lzf")
        file.create_dataset("y", data=y)


def with_nan(x, y):
    x[5, 16, 16, 0] = np.nan
    return x, y


DAMAGE = {
    "truncated": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "not HDF5": lambda path: path.write_text("hello"),
    "wrong dtype": lambda path: rewrite(path, lambda x, y: (x.astype(np.float64), y)),
    "wrong shape": lambda path: rewrite(path, lambda x, y: (x[:, :16], y)),
    "NaN energy": lambda path: rewrite(path, with_nan),
    "raw GeV": lambda path: rewrite(path, lambda x, y: (x * 50, y)),
    "labels not 0 or 1": lambda path: rewrite(path, lambda x, y: (x, y + 2)),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_file_is_refused(make_runner, images, damage):
    runner = make_runner()
    folder = shutil.copytree(images, runner.folder / "images")
    DAMAGE[damage](sorted(folder.glob("*.hdf5"))[0])
    words = ("run", "workflow:egamma-hardened", "--data", folder, "--out", "out", "--epochs", "1")
    done = subprocess.run(
        runner.command(*words), cwd=runner.folder, env=runner.environment, capture_output=True, text=True
    )
    assert done.returncode == 4, done.stderr
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("holdfast: ")
    assert "expected" in last
    assert "Traceback" not in done.stderr
    assert not (runner.folder / "out" / "report.html").exists()


@pytest.mark.parametrize(("names", "evidence"), [("official", "file of electrons"), ("own", "phi")])
def test_swapped_labels_are_refused_with_the_evidence(make_runner, swapped, names, evidence):
    runner = make_runner()
    folder = shutil.copytree(swapped, runner.folder / "images")
    if names == "own":
        for path in folder.glob("*.hdf5"):
            path.rename(folder / f"run_{len(path.name)}.hdf5")
    done = subprocess.run(
        runner.command("train", folder, "--epochs", "1"),
        cwd=runner.folder,
        env=runner.environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 4, done.stderr
    assert evidence in done.stderr
