import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from holdfast.core.errors import DataError, UsageError
from holdfast.data.readers import open_reader

from ..jets import damage, jets, nested, write_jets

IMAGES = jets(23, side=9)


def together(reader, **how):
    blocks = list(reader.blocks(**how))
    images = np.concatenate([block.images for block in blocks if len(block)])
    names = reader.columns
    return images, {n: np.concatenate([b.columns[n] for b in blocks if len(b)]) for n in names}, blocks


@pytest.mark.parametrize("leaf", ["item", "element"])
def test_official_schema(tmp_path, leaf):
    path = write_jets(tmp_path / "jets.parquet", jets(3), leaf=leaf)
    assert f".{leaf}" in pq.ParquetFile(path).schema.column(0).path
    reader = open_reader(path)
    assert (reader.rows, reader.shape, reader.kind) == (3, (3, 125, 125), "parquet")
    assert reader.channels == ("tracks", "ECAL", "HCAL")
    assert reader.units == ("GeV", "GeV", "GeV")
    assert reader.columns == ("pt", "m0", "y")
    assert reader.classes == ("gluon", "quark")
    images, columns, _ = together(reader)
    slow = np.array(pq.read_table(path).column("X_jets").to_pylist(), dtype=np.float32)
    assert images.dtype == np.float32
    assert np.array_equal(images, slow)
    assert columns["y"].tolist() == [0, 1, 0]


@pytest.mark.parametrize("group", [1, 4, 23, 100])
@pytest.mark.parametrize(("rows", "start", "stop"), [(1, 0, None), (5, 3, 20), (7, 22, None), (100, 0, 1)])
def test_any_cut_gives_the_same_rows(tmp_path, group, rows, start, stop):
    path = write_jets(tmp_path / "jets.parquet", IMAGES, group=group)
    images, columns, blocks = together(open_reader(path), rows=rows, start=start, stop=stop)
    assert np.array_equal(images, IMAGES[start:stop].astype(np.float32))
    assert np.array_equal(columns["m0"], np.linspace(10, 20, 23)[start:stop])
    assert [block.first for block in blocks] == list(range(start, stop or 23, rows))


@pytest.mark.parametrize("fixed", [False, True])
def test_other_lists(tmp_path, fixed):
    one = IMAGES[:, 0]
    table = pa.table({"image": nested(one, fixed=fixed), "label": np.arange(23)})
    pq.write_table(table, tmp_path / "a.parquet")
    reader = open_reader(tmp_path / "a.parquet", units=("MeV",))
    assert (reader.shape, reader.units, reader.label) == ((1, 9, 9), ("MeV",), "label")
    assert np.array_equal(together(reader)[0][:, 0], one.astype(np.float32))


def test_corrupt_groups_stop_with_file_and_group(tmp_path):
    path = write_jets(tmp_path / "jets.parquet", IMAGES)
    damage(path, 5)
    with pytest.raises(DataError, match=r"jets\.parquet, row group 5 \(rows 5 to 5\)"):
        list(open_reader(path).blocks(10))


def test_corrupt_groups_are_skipped_and_counted_if_asked(tmp_path):
    path = write_jets(tmp_path / "jets.parquet", IMAGES)
    for group in (0, 5, 6, 22):
        damage(path, group)
    images, columns, blocks = together(open_reader(path), rows=10, on_corrupt="skip")
    left = [row for row in range(23) if row not in (0, 5, 6, 22)]
    assert np.array_equal(images, IMAGES[left].astype(np.float32))
    assert np.array_equal(columns["m0"], np.linspace(10, 20, 23)[left])
    assert sum(block.skipped for block in blocks) == 4
    assert sum(len(block) for block in blocks) + 4 == 23


def test_the_rest_of_a_damaged_large_group_is_counted(tmp_path):
    path = write_jets(
        tmp_path / "jets.parquet", np.concatenate([IMAGES] * 10), group=100, data_page_size=2000
    )
    damage(path, 1)
    blocks = list(open_reader(path).blocks(7, on_corrupt="skip"))
    assert sum(len(b) + b.skipped for b in blocks) == 230
    assert 0 < sum(b.skipped for b in blocks) <= 100
    place = 0
    for block in blocks:
        assert block.first == place
        place += len(block) + block.skipped


@pytest.mark.parametrize("hole", ["image", "row", "value"])
def test_holes_are_damage(tmp_path, hole):
    lists = IMAGES[:3].tolist()
    if hole == "image":
        lists[1] = None
    elif hole == "row":
        lists[1][2][4] = None
    else:
        lists[1][2][4][0] = None
    pq.write_table(pa.table({"X_jets": lists, "y": [0, 1, 0]}), tmp_path / "a.parquet", row_group_size=1)
    with pytest.raises(DataError, match=r"row group 1 .* absent"):
        list(open_reader(tmp_path / "a.parquet").blocks())


def test_mixed_shapes(tmp_path):
    lists = [IMAGES[0].tolist(), IMAGES[1, :, :5].tolist(), IMAGES[2].tolist(), IMAGES[3].tolist()]
    pq.write_table(pa.table({"X_jets": lists, "y": [0, 1, 0, 1]}), tmp_path / "a.parquet", row_group_size=4)
    reader = open_reader(tmp_path / "a.parquet")
    shapes = [(block.first, block.images.shape) for block in reader.blocks()]
    assert shapes == [(0, (1, 3, 9, 9)), (1, (1, 3, 5, 9)), (2, (2, 3, 9, 9))]


@pytest.mark.parametrize("where", ["X_jets", "no images", "truncated", "empty", "foreign", "none"])
def test_files_that_are_none(tmp_path, where):
    path = tmp_path / "a.parquet"
    if where in ("X_jets", "no images"):
        columns = {"pt": [1.0]} if where == "no images" else {"a": nested(IMAGES), "b": nested(IMAGES)}
        pq.write_table(pa.table(columns), path)
    elif where == "truncated":
        path.write_bytes(write_jets(path, IMAGES).read_bytes()[:-100])
    elif where != "none":
        path.write_bytes(b"" if where == "empty" else b"hello world")
    with pytest.raises(DataError, match=r"a\.parquet"):
        open_reader(path)


def test_bad_calls(tmp_path):
    reader = open_reader(write_jets(tmp_path / "jets.parquet", IMAGES))
    for how in ({"rows": 0}, {"start": 24}, {"start": -1}, {"on_corrupt": "ignore"}):
        with pytest.raises(UsageError):
            next(reader.blocks(**how))
