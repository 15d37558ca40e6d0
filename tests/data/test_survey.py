"""A survey of files of different kinds and shapes, against NumPy on everything at once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from holdfast.core.errors import DataError, UsageError
from holdfast.data import survey as module
from holdfast.data.label_evidence import label_evidence, odd_files
from holdfast.data.survey import survey


def write_jets(path, n, *, heavy=0, seed=0):
    """Jets of 3×6×6 cells; those of label ``heavy`` have the larger mass."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 2
    images = rng.exponential(1, (n, 3, 6, 6)) * (rng.random((n, 3, 6, 6)) < 0.3)
    table = {"X_jets": images.tolist(), "m0": rng.normal(10 + 5 * (y == heavy), 2), "y": y.astype(float)}
    pq.write_table(pa.table(table), path, row_group_size=16)
    return images.astype(np.float32), y


@pytest.fixture
def files(tmp_path, write, make_showers):
    """A parquet file, an HDF5 file and an energy-only archive."""
    jets, y = write_jets(tmp_path / "jets.parquet", 100)
    images, labels = make_showers(40, 1)
    write(tmp_path / "electrons.hdf5", images, labels, simulated=True)
    np.savez(tmp_path / "energy.npz", X=images[:30, ..., 0], y=labels[:30].astype(np.uint8))
    return tmp_path, jets, y


def names(folder):
    return [folder / name for name in ("jets.parquet", "electrons.hdf5", "energy.npz")]


def test_files_are_grouped_by_shape_and_counted_by_class(files):
    folder, jets, y = files
    found = survey(names(folder), channels=["energy"], units=["50 GeV"])
    assert [group.shape for group in found.groups] == [(3, 6, 6), (2, 32, 32), (1, 32, 32)]
    assert [file.read for file in found.files] == [100, 40, 30]
    first, _, energy = found.groups
    assert (energy.channels, energy.units) == (("energy",), ("50 GeV",))
    assert first.names == {("gluon", "quark")}
    for label in (0, 1):
        counted, chosen = first.classes[str(label)], jets[y == label]
        assert counted.events == 50
        assert np.allclose(counted.images.mean, chosen.mean(0), rtol=1e-6)
        assert np.array_equal(counted.images.hits, (chosen != 0).sum(0))
        for channel in range(3):
            assert counted.cells[channel].zero == (chosen[:, channel] == 0).sum()
        sums = chosen[:, 1].sum((1, 2), dtype=float)
        assert counted.quantities["ECAL: sum"].mean == pytest.approx(sums.mean(), rel=1e-6)
    assert found.groups[1].seeds[0, 16, 16] == 40
    assert found.groups[1].simulated == 40
    assert found.duplicates.copies == 0  # energy alone is another image than energy and time


def test_the_answer_does_not_depend_on_who_computes_it(files, monkeypatch):
    folder, *_ = files
    monkeypatch.setattr(module, "_TASK_BLOCKS", 1)
    monkeypatch.setattr("holdfast.data.readers.block.BLOCK_BYTES", 20 * 4 * 3 * 36)
    paths = names(folder)[:1]
    alone = survey(paths, scratch=folder)
    with ThreadPoolExecutor(3) as executor:
        together = survey(paths, executor=executor, ahead=3, scratch=folder)
    for a, b in zip(alone.groups, together.groups, strict=True):
        assert a.classes.keys() == b.classes.keys()
        for label in a.classes:
            assert np.array_equal(a.classes[label].images.m2, b.classes[label].images.m2)
            assert a.classes[label].quantities.keys() == b.classes[label].quantities.keys()
    assert asdict(alone.duplicates) == asdict(together.duplicates)
    assert not list(folder.glob("hashes-*"))


def test_the_same_file_twice_is_all_duplicates(files):
    folder, *_ = files
    copy = folder / "copy.parquet"
    copy.write_bytes((folder / "jets.parquet").read_bytes())
    found = survey([folder / "jets.parquet", copy]).duplicates
    assert (found.copies, found.across_files, found.contradictory) == (100, 100, 0)
    assert found.examples[0][0] == 0
    assert found.examples[0][2] == 1


def test_a_damaged_file_stops_it_unless_asked(files):
    folder, *_ = files
    broken = folder / "broken.parquet"
    broken.write_bytes((folder / "jets.parquet").read_bytes()[:-100])
    paths = [folder / "jets.parquet", broken]
    with pytest.raises(DataError, match=r"broken\.parquet"):
        survey(paths)
    found = survey(paths, on_corrupt="skip")
    assert found.files[0].error is None
    assert "broken.parquet" in found.files[1].error
    assert found.groups[0].events == 100
    with pytest.raises(UsageError, match="at least one file"):
        survey([])


def test_labels_beyond_ten_classes_and_no_labels(tmp_path):
    images = np.ones((6, 4, 4), dtype=np.float32)
    np.savez(tmp_path / "many.npz", X=images, y=np.array([0, 3, 10, 500, -1, 3]))
    np.savez(tmp_path / "odd.npz", X=images, y=np.array([0.0, 1.5, np.nan, 1, 1, 1]))
    np.savez(tmp_path / "none.npz", X=images)
    found = survey([tmp_path / f"{name}.npz" for name in ("many", "odd", "none")])
    (group,) = found.groups
    events = {label: counted.events for label, counted in group.classes.items()}
    assert events == {"0": 2, "1": 3, "3": 2, "other": 5, "all": 6}


@pytest.mark.parametrize(("heavy", "one"), [(0, "quark"), (1, "gluon")])
def test_the_heavier_jets_are_gluons(tmp_path, heavy, one):
    write_jets(tmp_path / "jets.parquet", 200, heavy=heavy)
    (evidence,) = label_evidence(survey([tmp_path / "jets.parquet"]).groups[0])
    assert evidence.one == one
    assert evidence.contradicts == (one == "gluon")  # such files are taken for 1 = quark


def test_a_few_events_say_nothing_of_their_labels(tmp_path):
    write_jets(tmp_path / "jets.parquet", 10)
    (evidence,) = label_evidence(survey([tmp_path / "jets.parquet"]).groups[0])
    assert evidence.one is None
    assert not evidence.contradicts


def test_the_one_file_with_swapped_labels_is_found(tmp_path):
    paths = [tmp_path / f"run{k}.parquet" for k in range(3)]
    for k, path in enumerate(paths):
        write_jets(path, 150, heavy=int(k == 1), seed=k)
    ((file, quantity, deviations),) = odd_files(survey(paths))
    assert (file.path, quantity) == (paths[1], "m0")
    assert deviations > 5
