import json
import resource
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import h5py
import numpy as np
import pytest

from holdfast.core.canonical import hash_file
from holdfast.core.errors import StorageError, UsageError
from holdfast.data.simulate import SIMULATOR_VERSION, ShowerParameters, shower, simulate, write


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    monkeypatch.setattr(write, "CHUNK_EVENTS", 10)


def test_files_have_the_official_layout(tmp_path):
    electrons, photons = simulate(tmp_path, events=65, seed=0)
    assert electrons.name == "SingleElectronPt50_IMGCROPS_n32_sim.hdf5"
    assert photons.name == "SinglePhotonPt50_IMGCROPS_n33_sim.hdf5"
    for path, label, n in ((electrons, 1.0, 32), (photons, 0.0, 33)):
        with h5py.File(path) as file:
            assert set(file) == {"X", "y"}
            assert file["X"].shape == (n, 32, 32, 2)
            assert file["X"].dtype == np.dtype("<f4")
            assert file["X"].compression == "lzf"
            assert file["y"].shape == (n,)
            assert file["y"].dtype == np.dtype("<f4")
            assert np.all(file["y"][:] == label)
    assert not list(tmp_path.glob(".*"))


def test_files_say_that_they_are_simulated_and_how(tmp_path):
    path = simulate(tmp_path, events=2, seed=7, parameters=ShowerParameters(pt_gev=40.0))[0]
    with h5py.File(path) as file:
        assert file.attrs["simulated"]
        assert file.attrs["seed"] == 7
        assert file.attrs["simulator_version"] == SIMULATOR_VERSION
        assert json.loads(file.attrs["parameters"])["pt_gev"] == 40.0


def test_name_counts_thousands():
    assert write.file_name("photon", 249_000) == "SinglePhotonPt50_IMGCROPS_n249k_sim.hdf5"


def test_chunks_are_those_of_the_simulator(tmp_path):
    path = simulate(tmp_path, events=50, seed=3)[0]
    with h5py.File(path) as file:
        assert np.array_equal(file["X"][10:20], shower.images("electron", 10, seed=3, chunk=1))


def test_any_executor_writes_the_same_bytes(tmp_path):
    serial = simulate(tmp_path / "serial", events=90, seed=1)
    with ThreadPoolExecutor(3) as executor:
        parallel = simulate(tmp_path / "parallel", events=90, seed=1, workers=3, executor=executor)
    assert [hash_file(path) for path in serial] == [hash_file(path) for path in parallel]


def test_worker_processes_write_the_same_bytes(tmp_path, monkeypatch):
    monkeypatch.setattr(write, "CHUNK_EVENTS", 50)
    serial = simulate(tmp_path / "serial", events=200, seed=1)
    parallel = simulate(tmp_path / "parallel", events=200, seed=1, workers=2)
    assert [hash_file(path) for path in serial] == [hash_file(path) for path in parallel]


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_an_interruption_leaves_nothing_half_written(tmp_path, monkeypatch, error):
    real, calls = write._chunk, []

    def failing(*arguments):
        calls.append(arguments)
        if len(calls) == 3:
            raise error("stop")
        return real(*arguments)

    monkeypatch.setattr(write, "_chunk", failing)
    with pytest.raises(KeyboardInterrupt if error is KeyboardInterrupt else StorageError):
        simulate(tmp_path, events=100, seed=0)
    assert list(tmp_path.iterdir()) == []


LIMITED = """
import resource, signal, sys
from pathlib import Path
from holdfast.core.errors import StorageError
from holdfast.data.simulate import simulate
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
try:
    simulate(Path(sys.argv[1]), events=4000, seed=0)
except StorageError as error:
    print("STORAGE", error)
"""


def test_a_full_disk_is_a_storage_error(tmp_path):
    """A file size limit makes writes fail as a full disk does, in the middle of the file."""
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.stdout.startswith("STORAGE cannot write"), done.stdout + done.stderr
    assert done.returncode == 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("events", "workers"), [(1, 1), (0, 1), (10, 0)])
def test_bad_arguments_are_named(tmp_path, events, workers):
    with pytest.raises(UsageError, match="expected at least"):
        simulate(tmp_path, events=events, seed=0, workers=workers)


@pytest.mark.slow
def test_speed_and_memory(tmp_path, monkeypatch):
    """At least 1,000 events a second on one core, and memory that does not grow with the number of events."""
    monkeypatch.setattr(write, "CHUNK_EVENTS", 1000)
    simulate(tmp_path, events=4000, seed=0)
    before = resource.getrusage(resource.RUSAGE_SELF)
    simulate(tmp_path, events=40_000, seed=0)
    after = resource.getrusage(resource.RUSAGE_SELF)
    assert 40_000 / (after.ru_utime - before.ru_utime) > 1000
    assert after.ru_maxrss - before.ru_maxrss < 100_000  # KiB; the images are 330 MB
