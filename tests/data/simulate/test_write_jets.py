import builtins
import json
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow.parquet as pq
import pytest

from holdfast.core.canonical import hash_file
from holdfast.core.errors import StorageError, UsageError
from holdfast.data.readers import open_reader
from holdfast.data.simulate import JET_SIMULATOR_VERSION, jets, simulate_jets, write_jets


@pytest.fixture
def physics(monkeypatch):
    pytest.importorskip("pythia8mc", reason="needs the extra physics (Pythia 8)")
    pytest.importorskip("fastjet", reason="needs the extra physics (FastJet)")
    monkeypatch.setattr(write_jets, "CHUNK_JETS", 2)
    monkeypatch.setattr(jets, "EVENTS_AT_ONCE", 2)


def test_files_have_the_official_schema_and_say_that_they_are_simulated(tmp_path, physics):
    path = simulate_jets(tmp_path, count=9, seed=7)
    assert path.name == "QCDToGGQQ_IMGjet_n9_sim.snappy.parquet"
    file = pq.ParquetFile(path)
    assert file.metadata.num_row_groups == 9
    assert file.schema_arrow.names == ["X_jets", "pt", "m0", "y"]
    meta = {key.decode(): value.decode() for key, value in file.schema_arrow.metadata.items()}
    assert meta["simulated"] == "true"
    assert meta["label"] == "y: quark 1, gluon 0"
    assert meta["simulator_version"] == JET_SIMULATOR_VERSION
    assert json.loads(meta["parameters"])["pt_hat_min_gev"] == 80.0
    row = file.read_row_group(4).to_pylist()[0]
    assert np.shape(row["X_jets"]) == (3, 125, 125)

    reader = open_reader(path)
    assert reader.simulated
    block = next(reader.blocks())
    assert block.images.shape == (9, 3, 125, 125)
    assert list(block.columns["y"]) == [0, 1, 0, 1, 0, 1, 0, 1, 0]
    assert block.columns["pt"].min() > 70
    quark = jets.generate("quark", 2, seed=write_jets.seeding.derive(7, "jets", 0))
    assert np.array_equal(block.columns["m0"][1:4:2], quark.mass_gev)


def test_any_executor_writes_the_same_bytes(tmp_path, physics):
    serial = simulate_jets(tmp_path / "serial", count=9, seed=1)
    with ThreadPoolExecutor(1) as executor:
        other = simulate_jets(tmp_path / "other", count=9, seed=1, workers=3, executor=executor)
    assert hash_file(serial) == hash_file(other)
    assert hash_file(simulate_jets(tmp_path / "else", count=9, seed=2)) != hash_file(serial)


@pytest.mark.slow
def test_worker_processes_write_the_same_bytes(tmp_path, physics, monkeypatch):
    monkeypatch.undo()
    serial = simulate_jets(tmp_path / "serial", count=450, seed=1)
    assert hash_file(simulate_jets(tmp_path / "two", count=450, seed=1, workers=2)) == hash_file(serial)


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_an_interruption_leaves_nothing_half_written(tmp_path, physics, monkeypatch, error):
    real, calls = write_jets._chunk, []

    def failing(*arguments):
        calls.append(arguments)
        if len(calls) == 2:
            raise error("stop")
        return real(*arguments)

    monkeypatch.setattr(write_jets, "_chunk", failing)
    with pytest.raises(KeyboardInterrupt if error is KeyboardInterrupt else StorageError):
        simulate_jets(tmp_path, count=8, seed=0)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("count", "workers"), [(1, 1), (10, 0)])
def test_bad_arguments_are_named(tmp_path, count, workers):
    with pytest.raises(UsageError, match="expected at least"):
        simulate_jets(tmp_path, count=count, seed=0, workers=workers)


def test_without_the_extra_the_error_says_what_to_install(tmp_path, monkeypatch):
    real = builtins.__import__

    def missing(name, *arguments, **named):
        if name == "pythia8mc":
            raise ImportError("No module named 'pythia8mc'")
        return real(name, *arguments, **named)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(UsageError, match=r"pip install 'holdfast\[physics\]'"):
        simulate_jets(tmp_path, count=4, seed=0)
    assert list(tmp_path.iterdir()) == []
