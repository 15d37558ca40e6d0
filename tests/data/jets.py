"""Small Parquet files in the official schema of the quark/gluon set."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

SIDE = 125


def jets(n: int, seed: int = 0, side: int = SIDE) -> np.ndarray:
    """Sparse images (n, 3, side, side) of doubles that float32 cannot hold exactly, no two alike."""
    rng = np.random.default_rng(seed)
    images = np.zeros((n, 3, side, side))
    for event in range(n):
        cells = rng.choice(3 * side * side, size=60, replace=False)
        images[event].reshape(-1)[cells] = rng.exponential(1.0, 60)
    return images


def nested(images: np.ndarray, leaf: str = "item", fixed: bool = False) -> pa.Array:
    """Lists of lists of lists, the leaf named as asked."""
    array = pa.array(images.reshape(-1))
    for size in images.shape[:0:-1]:
        field = pa.field(leaf, array.type)
        if fixed:
            array = pa.FixedSizeListArray.from_arrays(array, type=pa.list_(field, size))
        else:
            offsets = pa.array(np.arange(0, len(array) + 1, size, dtype=np.int32))
            array = pa.ListArray.from_arrays(offsets, array, type=pa.list_(field))
    return array


def write_jets(
    path: Path,
    images: np.ndarray,
    labels: np.ndarray | None = None,
    m0: np.ndarray | None = None,
    *,
    leaf: str = "item",
    group: int = 1,
    fixed: bool = False,
    **options: object,
) -> Path:
    """Write ``path`` with the columns X_jets, pt, m0 and y, ``group`` rows a row group."""
    n = len(images)
    labels = np.arange(n) % 2 if labels is None else labels
    m0 = np.linspace(10, 20, n) if m0 is None else m0
    columns = {
        "X_jets": nested(images, leaf, fixed),
        "pt": np.linspace(80, 120, n),
        "m0": m0,
        "y": labels.astype(float),
    }
    table = pa.table(columns)
    compliant = {"use_compliant_nested_type": leaf == "element"}
    pq.write_table(table, path, row_group_size=group, compression="snappy", **compliant, **options)
    return path


def damage(path: Path, group: int) -> None:
    """Overwrite the first page header of the images of one row group."""
    column = pq.read_metadata(path).row_group(group).column(0)
    start = column.dictionary_page_offset or column.data_page_offset
    data = bytearray(path.read_bytes())
    data[start : start + 40] = b"\xff" * 40
    path.write_bytes(bytes(data))
