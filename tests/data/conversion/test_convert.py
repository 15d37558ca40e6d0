import json
import os
import signal
import subprocess
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor

import h5py
import numpy as np
import pytest

from holdfast import data
from holdfast.core.errors import DataError, UsageError
from holdfast.data.conversion import convert, pieces, planning, verify
from holdfast.data.event_hash import event_hashes
from holdfast.data.readers import open_reader
from holdfast.data.transforms import Pipeline

from ..jets import damage, jets, write_jets

IMAGES = jets(90, side=9)
STEPS = [{"name": "compress"}, {"name": "standardise"}, {"name": "crop", "size": 5}]
SPLITS = ("train", "val", "test")


@pytest.fixture
def file(tmp_path):
    return write_jets(tmp_path / "jets.parquet", IMAGES)


@pytest.fixture
def small_pieces(monkeypatch):
    monkeypatch.setattr(planning, "_MIN_ROWS", 20)
    monkeypatch.setattr(planning, "_MAX_ROWS", 20)


def events(folder, split):
    with h5py.File(folder / f"{split}.h5") as opened:
        return dict(zip(opened["event"][:].tolist(), opened["images"][:], strict=True))


def same_bytes(one, two):
    return all((one / f"{s}.h5").read_bytes() == (two / f"{s}.h5").read_bytes() for s in SPLITS)


def test_every_event_arrives_once_transformed_with_what_belongs_to_it(tmp_path, file):
    result = convert(file, tmp_path / "out", transform=STEPS)
    assert result.n == 90
    seen = []
    pipeline = None
    for split in SPLITS:
        stream = data.open(tmp_path / "out", split=split)
        pipeline = Pipeline.from_json(stream.info.transform)
        with h5py.File(tmp_path / "out" / f"{split}.h5") as opened:
            rows = opened["row"][:]
            assert np.array_equal(opened["images"][:], pipeline.apply(IMAGES[rows].astype(np.float32)))
            assert np.array_equal(opened["label"][:], rows % 2)
            assert np.array_equal(opened["columns/m0"][:], np.linspace(10, 20, 90)[rows])
            assert opened["images"].fletcher32
            seen += rows.tolist()
        x, y = next(iter(stream.batches(1000)))
        assert x.shape == (len(rows), 3, 5, 5)
        assert np.array_equal(y.numpy(), rows % 2)
        assert stream.info.counts == result.counts[split]
    assert sorted(seen) == list(range(90))
    assert stream.info.channels == ("tracks", "ECAL", "HCAL")
    assert stream.info.units == ("1", "1", "1")
    assert stream.info.unit_gev is None


def test_standardisation_is_learnt_from_train_alone(tmp_path, file):
    convert(file, tmp_path / "out", transform=STEPS)
    with h5py.File(tmp_path / "out" / "train.h5") as opened:
        rows = opened["row"][:]
        mean = json.loads(opened.attrs["transform"])[1]["mean"]
    train = np.log1p(IMAGES[rows].astype(np.float32))
    assert np.allclose(mean, train.mean(axis=(0, 2, 3), dtype=np.float64), rtol=1e-6)
    assert not np.allclose(mean, np.log1p(IMAGES).mean(axis=(0, 2, 3)), rtol=1e-4)


def test_an_added_file_moves_no_event_and_leaks_none(tmp_path, file):
    more = write_jets(tmp_path / "a_first.parquet", np.concatenate([jets(40, seed=7, side=9), IMAGES[:10]]))
    convert(file, tmp_path / "one")
    with pytest.warns(UserWarning, match="10 events .* the same image"):
        both = convert([file, more], tmp_path / "two")
    assert (both.n, both.duplicates) == (140, 10)
    for split in SPLITS:
        assert set(events(tmp_path / "one", split)) <= set(events(tmp_path / "two", split))
    assert not set(events(tmp_path / "two", "train")) & set(events(tmp_path / "two", "test"))
    convert(file, tmp_path / "three", seed=1)
    assert set(events(tmp_path / "three", "train")) != set(events(tmp_path / "one", "train"))


@pytest.mark.usefixtures("small_pieces")
def test_executors_and_pieces_do_not_change_the_result(tmp_path, file):
    one = convert(file, tmp_path / "one", transform=STEPS)
    assert one.pieces == 5
    with ThreadPoolExecutor(1) as executor:
        convert(file, tmp_path / "two", transform=STEPS, executor=executor)
    assert same_bytes(tmp_path / "one", tmp_path / "two")


@pytest.mark.slow
@pytest.mark.usefixtures("small_pieces")
def test_worker_processes_do_not_change_the_result(tmp_path, file):
    convert(file, tmp_path / "one", transform=STEPS)
    assert convert(file, tmp_path / "two", transform=STEPS, workers=2).pieces == 5
    assert same_bytes(tmp_path / "one", tmp_path / "two")


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
@pytest.mark.usefixtures("small_pieces")
def test_dask_does_not_change_the_result(tmp_path, file):
    distributed = pytest.importorskip("distributed")
    convert(file, tmp_path / "one", transform=STEPS)
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, processes=True, dashboard_address=None
    ) as cluster, distributed.Client(cluster) as client:  # fmt: skip
        made = convert(file, tmp_path / "dask", transform=STEPS, executor=client.get_executor())
    assert made.pieces == 5
    assert same_bytes(tmp_path / "one", tmp_path / "dask")


@pytest.mark.usefixtures("small_pieces")
def test_an_interrupted_conversion_goes_on(tmp_path, file, monkeypatch):
    made = []
    make = pieces.make

    def killed(piece, task, target):
        if len(made) == 3:
            raise KeyboardInterrupt
        made.append(piece)
        make(piece, task, target)

    monkeypatch.setattr("holdfast.data.conversion.converting.make", killed)
    with pytest.raises(KeyboardInterrupt):
        convert(file, tmp_path / "out", transform=STEPS)
    assert not (tmp_path / "out" / "train.h5").exists()
    monkeypatch.undo()
    monkeypatch.setattr(planning, "_MIN_ROWS", 20)
    monkeypatch.setattr(planning, "_MAX_ROWS", 20)
    assert convert(file, tmp_path / "out", transform=STEPS).resumed == 3
    convert(file, tmp_path / "other", transform=STEPS)
    assert same_bytes(tmp_path / "out", tmp_path / "other")
    assert not (tmp_path / "out" / ".convert").exists()
    assert convert(file, tmp_path / "out", transform=STEPS).resumed == 5


@pytest.mark.slow
def test_a_killed_process_goes_on(tmp_path):
    write_jets(tmp_path / "jets.parquet", jets(3000, side=60))
    out = tmp_path / "out"
    code = (
        "from holdfast.data.conversion import convert, planning as p; p._MIN_ROWS = p._MAX_ROWS = 50; "
        f"print(convert({str(tmp_path / 'jets.parquet')!r}, {str(out)!r}).resumed)"
    )
    process = subprocess.Popen([sys.executable, "-c", code])
    while len(list(out.glob(".convert/*.h5"))) < 5:
        assert process.poll() is None
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    resumed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert int(resumed) >= 5
    verify(out)


def test_corrupt_row_groups(tmp_path, file):
    damage(file, 40)
    with pytest.raises(DataError, match=r"jets\.parquet, row group 40"):
        convert(file, tmp_path / "out")
    result = convert(file, tmp_path / "out", on_corrupt="skip")
    assert (result.n, result.skipped) == (89, 1)
    with h5py.File(tmp_path / "out" / "val.h5") as opened:
        assert json.loads(opened.attrs["sources"])[0]["skipped"] == 1


def test_swapped_labels_are_warned_of_with_the_evidence(tmp_path):
    quark = np.arange(90) % 2
    m0 = np.where(quark, 11.2, 15.0) + np.linspace(-3, 3, 90)
    right = write_jets(tmp_path / "right.parquet", IMAGES, quark, m0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not convert(right, tmp_path / "a").evidence[0].contradicts
    wrong = write_jets(tmp_path / "wrong.parquet", IMAGES, 1 - quark, m0)
    with pytest.warns(UserWarning, match="m0 is 11.23 GeV for gluon .45 events. and 14.97 GeV for quark"):
        assert convert(wrong, tmp_path / "b").evidence[0].contradicts
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        convert(wrong, tmp_path / "c", classes=("quark", "gluon"))


def test_electrons_that_are_narrow_are_warned_of(tmp_path, write, make_showers):
    (a, one), (b, zero) = make_showers(40, 1), make_showers(40, 0)
    labels = 1 - np.concatenate([one, zero])
    with pytest.warns(UserWarning, match="phi width is .* for electron"):
        convert(write(tmp_path / "a.hdf5", np.concatenate([a, b]), labels), tmp_path / "out")


@pytest.mark.parametrize("what", ["shape", "files", "label", "nan", "number", "no label"])
def test_bad_input_is_told_and_leaves_nothing(tmp_path, file, what):
    images, labels, how, message = IMAGES.copy(), np.arange(90) % 2, {}, ""
    files = [tmp_path / "bad.parquet"]
    if what == "files":
        images, message = images[..., :8], r"the shape of bad\.parquet"
        files.append(file)
    elif what == "nan":
        images[77, 0, 0, 0], message = np.nan, r"bad\.parquet, row 77"
    elif what == "number":
        labels[5], message = 2, r"row 5, y: expected labels 0 to 1, got 2"
    elif what == "label":
        how, message = {"label": "flavour"}, "a column flavour, got columns pt, m0, y"
    write_jets(files[0], images, labels)
    if what == "shape":
        import pyarrow as pa
        import pyarrow.parquet as pq

        lists = [image.tolist() for image in images[:9]]
        lists[6] = images[6, :, :5].tolist()
        pq.write_table(pa.table({"X_jets": lists, "y": labels[:9]}), files[0])
        message = r"bad\.parquet, row 6: expected images of shape \(3, 9, 9\).*\(3, 5, 9\)"
    elif what == "no label":
        np.savez(tmp_path / "bad.npz", X=images)
        files, message = [tmp_path / "bad.npz"], "labels in a column y, got columns none"
    with pytest.raises(DataError, match=message):
        convert(files, tmp_path / "out", **how)
    assert not list((tmp_path / "out").glob("*.h5"))


def test_bad_calls(tmp_path, file):
    for how in (
        {"shares": (0.9, 0.2)},
        {"workers": 0},
        {"on_corrupt": "ignore"},
        {"seed": 0, "transform": [1]},
    ):
        with pytest.raises(UsageError):
            convert(file, tmp_path / "out", **how)
    with pytest.raises(UsageError, match="twice"):
        convert([file, file], tmp_path / "out")
    convert(file, tmp_path / "out")
    with pytest.raises(UsageError, match="another conversion"):
        convert(file, tmp_path / "out", seed=1)


def test_damage_and_changes_of_converted_data_are_noticed(tmp_path, file):
    out = tmp_path / "out"
    convert(file, out)
    verify(out)
    with h5py.File(out / "test.h5", "r+") as opened:
        opened["label"][0] = 1 - opened["label"][0]
    with pytest.raises(DataError, match=r"test\.h5: expected content"):
        verify(out)
    with h5py.File(out / "train.h5") as opened:
        place = opened["images"].id.get_chunk_info(0)
    raw = bytearray((out / "train.h5").read_bytes())
    raw[place.byte_offset + place.size // 2] ^= 255
    (out / "train.h5").write_bytes(bytes(raw))
    with pytest.raises(DataError, match=r"train\.h5"):
        list(data.open(out, split="train").batches(10))


def test_converted_data_are_read_and_converted_again(tmp_path, file):
    convert(file, tmp_path / "out")
    reader = open_reader(tmp_path / "out" / "train.h5")
    assert (reader.shape, reader.channels, reader.classes) == (
        (3, 9, 9),
        ("tracks", "ECAL", "HCAL"),
        ("gluon", "quark"),
    )
    again = convert([tmp_path / "out" / f"{split}.h5" for split in SPLITS], tmp_path / "again")
    assert again.n == 90
    for split in SPLITS:
        assert set(events(tmp_path / "out", split)) == set(events(tmp_path / "again", split))


def test_the_hash_is_that_of_the_content():
    images = IMAGES.astype(np.float32)
    hashes = event_hashes(images)
    assert len(set(hashes.tolist())) == 90
    assert np.array_equal(event_hashes(images[::-1])[::-1], hashes)
    assert event_hashes(np.zeros((1, 1, 2, 8)))[0] != event_hashes(np.zeros((1, 1, 4, 4)))[0]
    moved = images[:1].copy()
    moved[0, 0, 0, 0] += 1
    assert event_hashes(moved)[0] != hashes[0]
    assert event_hashes(-np.zeros((1, 1, 2, 2)))[0] == event_hashes(np.zeros((1, 1, 2, 2)))[0]
