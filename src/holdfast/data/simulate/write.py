"""Simulated images written in the official ML4SCI layout, in bounded memory and any number of processes."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Executor
from dataclasses import asdict
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from holdfast.core.canonical import canonical_json
from holdfast.core.errors import UsageError
from holdfast.core.paths import atomic_path
from holdfast.core.progress import progress
from holdfast.data.simulate import readout, shower
from holdfast.data.simulate.disk import ForgivingFile
from holdfast.data.simulate.parameters import SIMULATOR_VERSION, ShowerParameters
from holdfast.data.simulate.workers import in_order, worker_pool

CHUNK_EVENTS = 1000  # part of the result: each chunk has a seed of its own
ROWS_PER_HDF5_CHUNK = 64


def simulate(
    folder: Path,
    *,
    events: int,
    seed: int,
    workers: int = 1,
    executor: Executor | None = None,
    parameters: ShowerParameters | None = None,
) -> list[Path]:
    """Write ``events`` images, half electrons and half photons, to two HDF5 files in ``folder``.

    Files hold ``X`` (N, 32, 32, 2) float32 [energy / 50 GeV, time / 50 ns] and ``y`` (N,) float32 (electron
    1, photon 0), and say in their attributes that they are simulated and how. The result depends on events,
    seed and parameters alone, not on ``workers`` (processes) or on ``executor``, which takes their place.
    Each file appears whole or not at all. Raises UsageError, StorageError.
    """
    if events < 2:
        raise UsageError("events", expected="at least 2", got=events)
    if workers < 1:
        raise UsageError("workers", expected="at least 1", got=workers)
    p = parameters or ShowerParameters()
    counts = {"electron": events // 2, "photon": events - events // 2}
    with worker_pool(workers, executor) as pool, progress("simulate", events, "events") as advance:
        paths = []
        for particle, count in counts.items():
            path = folder / file_name(particle, count)
            with atomic_path(path) as temporary:
                with ForgivingFile(temporary) as disk, h5py.File(disk, "w") as file:
                    _describe(file, particle, seed, p)
                    images, labels = _create(file, count)
                    labels[:] = float(particle == "electron")
                    start = 0
                    for chunk in _chunks(particle, count, seed, p, pool, 2 * workers):
                        images[start : start + len(chunk)] = chunk
                        start += len(chunk)
                        disk.check()
                        advance(len(chunk))
            paths.append(path)
    return paths


def file_name(particle: str, events: int) -> str:
    """Name of a simulated file, after the official ones: SingleElectronPt50_IMGCROPS_n249k_sim.hdf5."""
    number = f"{events // 1000}k" if events % 1000 == 0 else str(events)
    return f"Single{particle.capitalize()}Pt50_IMGCROPS_n{number}_sim.hdf5"


def _describe(file: h5py.File, particle: str, seed: int, p: ShowerParameters) -> None:
    file.attrs["simulated"] = True
    file.attrs["simulator"] = "holdfast.data.simulate.shower"
    file.attrs["simulator_version"] = SIMULATOR_VERSION
    file.attrs["particle"] = particle
    file.attrs["seed"] = seed
    file.attrs["parameters"] = canonical_json(asdict(p)).decode()


def _create(file: h5py.File, count: int) -> tuple[h5py.Dataset, h5py.Dataset]:
    rows = min(ROWS_PER_HDF5_CHUNK, count)
    shape = (readout.SIZE, readout.SIZE, 2)
    images = file.create_dataset(
        "X", (count, *shape), dtype="f4", chunks=(rows, *shape), compression="lzf", shuffle=False
    )
    labels = file.create_dataset("y", (count,), dtype="f4", chunks=(min(4096, count),), compression="lzf")
    return images, labels


def _chunks(
    particle: str, count: int, seed: int, p: ShowerParameters, pool: Executor | None, ahead: int
) -> Iterator[NDArray[np.float32]]:
    """The images chunk by chunk, in order; with a pool, at most ``ahead`` chunks are under way."""
    sizes = [min(CHUNK_EVENTS, count - start) for start in range(0, count, CHUNK_EVENTS)]
    tasks = ((particle, size, seed, index, p) for index, size in enumerate(sizes))
    return in_order(_chunk, tasks, pool, ahead)


def _chunk(particle: str, events: int, seed: int, index: int, p: ShowerParameters) -> NDArray[np.float32]:
    return shower.images(particle, events, seed=seed, chunk=index, parameters=p)
