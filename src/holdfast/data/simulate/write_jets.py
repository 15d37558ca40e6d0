"""Simulated jets written in the schema of the official quark/gluon files, in bounded memory."""

from __future__ import annotations

from concurrent.futures import Executor
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from holdfast.core import seeding
from holdfast.core.canonical import canonical_json
from holdfast.core.errors import UsageError
from holdfast.core.paths import atomic_path
from holdfast.core.progress import progress
from holdfast.data.simulate import detector, jets
from holdfast.data.simulate.jet_parameters import JET_SIMULATOR_VERSION, JetParameters
from holdfast.data.simulate.workers import in_order, worker_pool

CHUNK_JETS = 100  # of each flavour; part of the result: each chunk has a seed of its own

_ROWS = 25  # turned into nested lists together
_SCHEMA = pa.schema(
    [
        ("X_jets", pa.list_(pa.list_(pa.list_(pa.float64())))),
        ("pt", pa.float64()),
        ("m0", pa.float64()),
        ("y", pa.float64()),
    ]
)
Chunk = tuple[NDArray[np.float32], NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]


def simulate_jets(
    folder: Path,
    *,
    count: int,
    seed: int,
    workers: int = 1,
    executor: Executor | None = None,
    parameters: JetParameters | None = None,
) -> Path:
    """Write ``count`` jets, quarks and gluons in turn, to one Parquet file in ``folder``.

    Columns: ``X_jets`` (3, 125, 125) nested lists of doubles in GeV [track pT, ECAL, HCAL], ``pt`` and ``m0``
    in GeV of the jet before the detector, ``y`` (quark 1, gluon 0); one row a row group, as the official
    files. The schema's metadata say that it is simulated and how. The result depends on count, seed and
    parameters alone, not on ``workers`` (processes) or on ``executor``, which takes their place. The file
    appears whole or not at all. Needs the extra ``physics``. Raises UsageError, StorageError.
    """
    if count < 2:
        raise UsageError("jets", expected="at least 2", got=count)
    if workers < 1:
        raise UsageError("workers", expected="at least 1", got=workers)
    jets.require_physics()
    p = parameters or JetParameters()
    path = folder / jets_file_name(count)
    schema = _SCHEMA.with_metadata(_metadata(seed, p))
    tasks = [
        (min(2 * CHUNK_JETS, count - start), seed, index, p)
        for index, start in enumerate(range(0, count, 2 * CHUNK_JETS))
    ]
    with (
        worker_pool(workers, executor) as pool,
        progress("simulate", count, "jets") as advance,
        atomic_path(path) as temporary,
        pq.ParquetWriter(temporary, schema, compression="snappy") as writer,
    ):
        for images, pt, mass, label in in_order(_chunk, tasks, pool, 2 * workers):
            for low in range(0, len(label), _ROWS):
                rows = slice(low, low + _ROWS)
                columns = [_nested(images[rows]), *(pa.array(values[rows]) for values in (pt, mass, label))]
                writer.write_table(pa.Table.from_arrays(columns, schema=schema), row_group_size=1)
                advance(len(label[rows]))
    return path


def jets_file_name(count: int) -> str:
    """Name of a simulated file, after the official ones: QCDToGGQQ_IMGjet_n60000_sim.snappy.parquet."""
    return f"QCDToGGQQ_IMGjet_n{count}_sim.snappy.parquet"


def _chunk(count: int, seed: int, index: int, p: JetParameters) -> Chunk:
    """Images, pt, m0 and labels of one chunk: gluon, quark, gluon, …"""
    counts = {"gluon": (count + 1) // 2, "quark": count // 2}
    images = np.empty((count, 3, detector.SIZE, detector.SIZE), dtype=np.float32)
    pt, mass, label = np.empty((3, count))
    for number, (flavour, some) in enumerate(counts.items()):
        if some == 0:
            continue
        made = jets.generate(flavour, some, seed=seeding.derive(seed, "jets", index), parameters=p)
        turn = slice(number, None, 2)
        rng = seeding.generator(seed, "jet detector", flavour, index)
        images[turn] = detector.jet_images(made, rng, p)
        pt[turn], mass[turn], label[turn] = made.pt_gev, made.mass_gev, float(jets.FLAVOURS.index(flavour))
    return images, pt, mass, label


def _nested(images: NDArray[np.float32]) -> pa.Array:
    """Images (n, C, H, W) as lists of lists of lists of doubles."""
    values = pa.array(images.reshape(-1).astype(np.float64))
    for axis in (3, 2, 1):
        length = images.shape[axis]
        values = pa.ListArray.from_arrays(np.arange(0, len(values) + 1, length, dtype=np.int32), values)
    return values


def _metadata(seed: int, p: JetParameters) -> dict[str, str]:
    return {
        "simulated": "true",
        "simulator": "holdfast.data.simulate.jets",
        "simulator_version": JET_SIMULATOR_VERSION,
        "label": "y: quark 1, gluon 0",
        "channels": ", ".join(detector.CHANNELS),
        "units": "GeV",
        "seed": str(seed),
        "parameters": canonical_json(asdict(p)).decode(),
        "sources": "Pythia 8.3, arXiv:2203.11601; FastJet, arXiv:1111.6097 and hep-ph/0512210",
    }
