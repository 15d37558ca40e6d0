"""From deposited energy to the image that is read out: resolution, noise, selective readout, time."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from holdfast.data.simulate.parameters import ShowerParameters

SIZE = 32
SEED = 16
_MARGIN = 2  # crystals by which noise may move the hottest crystal


def measure(
    deposits_gev: NDArray[np.float64], rng: np.random.Generator, p: ShowerParameters
) -> NDArray[np.float32]:
    """Images (events, 32, 32, 2) float32 in file units from deposits (events, rows, columns) in GeV.

    Each is cropped around the crystal that is hottest after noise, which lands at [16, 16]. The canvas must
    leave 18 crystals around every hottest crystal; beyond it only noise is assumed.
    """
    energy = _crop(p.energy_scale * deposits_gev, SIZE + 2 * _MARGIN, SEED + _MARGIN)
    sigma2 = p.noise_gev**2 + p.stochastic_sqrt_gev**2 * energy + (p.constant_fraction * energy) ** 2
    noise = rng.standard_normal(energy.shape, dtype=np.float32)
    energy = _crop(energy + np.sqrt(sigma2) * noise, SIZE, SEED)
    read = (energy > p.zero_suppression_gev) | ((energy > 0) & _near_hits(energy, p))
    energy = np.where(read, energy, 0.0)
    image = np.empty((*energy.shape, 2), dtype=np.float32)
    image[..., 0] = energy / p.energy_unit_gev
    image[..., 1] = _times(energy, read, rng, p) / p.time_unit_ns
    return image


def _crop(values: NDArray[np.float64], size: int, seed: int) -> NDArray[np.float64]:
    """Square windows that have the largest value of each image at [seed, seed]; zero outside the canvas."""
    events, rows, columns = values.shape
    row, column = np.divmod(values.reshape(events, -1).argmax(axis=1), columns)
    steps = np.arange(size) - seed
    row, column = row[:, None] + steps, column[:, None] + steps
    inside = ((row >= 0) & (row < rows))[:, :, None] & ((column >= 0) & (column < columns))[:, None, :]
    row, column = np.clip(row, 0, rows - 1), np.clip(column, 0, columns - 1)
    window = values[np.arange(events)[:, None, None], row[:, :, None], column[:, None, :]]
    return np.where(inside, window, 0.0)


def _near_hits(energy_gev: NDArray[np.float64], p: ShowerParameters) -> NDArray[np.bool_]:
    """Crystals within ``readout_rows`` and ``readout_columns`` of one above the readout seed."""
    near = energy_gev > p.readout_seed_gev
    for axis, radius in ((1, p.readout_rows), (2, p.readout_columns)):
        spread = near.copy()
        for step in range(1, radius + 1):
            here, there = [slice(None)] * 3, [slice(None)] * 3
            here[axis], there[axis] = slice(step, None), slice(None, -step)
            spread[tuple(here)] |= near[tuple(there)]
            spread[tuple(there)] |= near[tuple(here)]
        near = spread
    return near


def _times(
    energy_gev: NDArray[np.float64], read: NDArray[np.bool_], rng: np.random.Generator, p: ShowerParameters
) -> NDArray[np.float64]:
    """Times in ns of the crystals that are read, zero elsewhere."""
    times = np.zeros(energy_gev.shape)
    hits = energy_gev[read]
    event = np.nonzero(read)[0]
    sigma = np.hypot(p.time_noise_ns * p.noise_gev / hits, p.time_constant_ns)
    drawn = sigma * rng.standard_normal(len(hits))
    drawn += (p.time_jitter_ns * rng.standard_normal(len(energy_gev)))[event]
    times[read] = np.clip(drawn, -p.time_limit_ns, p.time_limit_ns)
    return times
