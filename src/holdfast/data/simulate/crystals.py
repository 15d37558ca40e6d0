"""From particles at the crystals to energy in crystals: a library of shower images, looked up and summed.

The lateral profile of a shower, averaged over its depth, is a sum of terms R² / (pi (r² + R²)²), each of
which integrates over a rectangle in closed form. So the share of every crystal in an 11×11 patch is
tabulated once: over shower shape (energy and alpha) and over the impact point within the central crystal.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammainc, gammaincinv

from holdfast.data.simulate import profile
from holdfast.data.simulate.parameters import ShowerParameters

Floats = NDArray[np.float64]

PATCH = 11  # crystals; a shower leaves about 1 % of its energy outside
_POSITIONS = 24  # impact points per crystal and axis, 0.9 mm apart
_SLICES = 24  # of equal energy along the depth
_RADII = np.geomspace(0.02, 12.0, 40)  # Molière radii; profile terms are spread over this grid
_ENERGIES_GEV = np.geomspace(1.0, 128.0, 8)
_DEVIATIONS = np.linspace(-2.0, 2.0, 5)  # of ln alpha from its mean, in standard deviations


def corner_integral(x: Floats, y: Floats, radius: Floats | float) -> Floats:
    """Integral of R² / (pi (x² + y² + R²)²) over the rectangle from (0, 0) to (x, y), signed."""
    a, b = np.sqrt(x**2 + radius**2), np.sqrt(y**2 + radius**2)
    return (x / a * np.arctan(y / a) + y / b * np.arctan(x / b)) / (2 * np.pi)


def patch_shares(row: float, column: float, radius: float) -> Floats:
    """Share of each crystal, (11, 11), for an impact at (row, column) crystals off the central one's middle.

    ``radius`` in crystals. The sum is below 1 by what falls outside the patch.
    """
    edges: Floats = np.arange(PATCH + 1, dtype=np.float64) - PATCH / 2
    corners = corner_integral((edges - row)[:, None], (edges - column)[None, :], radius)
    return np.diff(np.diff(corners, axis=0), axis=1)


def shape_weights(energy_gev: float, log_alpha: float, p: ShowerParameters) -> Floats:
    """Weight of each radius of the grid in the depth-averaged lateral profile; sums to 1."""
    alpha = np.exp(log_alpha)
    middles = (np.arange(_SLICES) + 0.5) / _SLICES
    tau = gammaincinv(alpha, middles) / (alpha - 1)
    core, tail, share = profile.radial(tau, energy_gev, p)
    weights = np.zeros(len(_RADII))
    steps = np.log(_RADII[1] / _RADII[0])
    for radius, weight in ((core, share), (tail, 1 - share)):
        place = np.clip(np.log(radius / _RADII[0]) / steps, 0, len(_RADII) - 1.001)
        lower = place.astype(int)
        np.add.at(weights, lower, weight * (1 - (place - lower)) / _SLICES)
        np.add.at(weights, lower + 1, weight * (place - lower) / _SLICES)
    return weights


@lru_cache(maxsize=2)
def library(p: ShowerParameters) -> NDArray[np.float32]:
    """Crystal shares by energy, deviation of ln alpha, impact row and column: (8, 5, 24, 24, 121) float32."""
    radii = _RADII * p.moliere_cm / p.crystal_cm
    middles = (np.arange(_POSITIONS) + 0.5) / _POSITIONS - 0.5
    edges = np.arange(PATCH + 1) - PATCH / 2
    reach = edges[None, :] - middles[:, None]  # (position, edge)
    corners = corner_integral(
        reach[None, :, None, :, None], reach[None, None, :, None, :], radii[:, None, None, None, None]
    )
    shares = np.diff(np.diff(corners, axis=3), axis=4).reshape(len(radii), -1)
    mean = profile.mean_log_alpha(_ENERGIES_GEV, p)
    spread = profile.spread_log_alpha(_ENERGIES_GEV, p)
    weights = np.array(
        [
            shape_weights(energy, mean[i] + deviation * spread[i], p)
            for i, energy in enumerate(_ENERGIES_GEV)
            for deviation in _DEVIATIONS
        ]
    )
    # Not by BLAS, whose last bits depend on its number of threads.
    table: NDArray[np.float32] = np.einsum("sr,rp->sp", weights, shares).astype(np.float32)
    return table.reshape(len(_ENERGIES_GEV), len(_DEVIATIONS), _POSITIONS, _POSITIONS, PATCH * PATCH)


def deposit(
    canvas_shape: tuple[int, int, int],
    event: NDArray[np.int64],
    energy_gev: Floats,
    is_photon: NDArray[np.bool_],
    row: Floats,
    column: Floats,
    rng: np.random.Generator,
    p: ShowerParameters,
) -> Floats:
    """Energy in GeV deposited in each crystal of the canvas (events, rows, columns).

    One shower a particle, all arrays (n,): ``row`` and ``column`` are impact points in crystals, crystal k
    reaching from k - 1/2 to k + 1/2. Showers fluctuate along the depth and leak out behind; photons start
    theirs after a free path of 9/7 X0 on average. Particles whose patch leaves the canvas are dropped.
    """
    margin = PATCH // 2
    nearest_row, nearest_column = np.rint(row).astype(np.int64), np.rint(column).astype(np.int64)
    _, rows, columns = canvas_shape
    inside = (nearest_row >= margin) & (nearest_row < rows - margin)
    inside &= (nearest_column >= margin) & (nearest_column < columns - margin)
    event, energy_gev, is_photon = event[inside], energy_gev[inside], is_photon[inside]
    row, column = row[inside], column[inside]
    nearest_row, nearest_column = nearest_row[inside], nearest_column[inside]

    depth_of_maximum, alpha = profile.draw_longitudinal(energy_gev, rng, p)
    start = np.where(is_photon, rng.exponential(9 / 7, len(energy_gev)), 0.0)
    reach = np.maximum(p.depth_x0 - start, 0.0) / depth_of_maximum * (alpha - 1)
    contained = energy_gev * gammainc(alpha, reach)

    deviation = np.log(alpha) - profile.mean_log_alpha(energy_gev, p)
    deviation /= profile.spread_log_alpha(energy_gev, p)
    patches = library(p)[
        _nearest(np.log(energy_gev), np.log(_ENERGIES_GEV)),
        _nearest(deviation, _DEVIATIONS),
        np.minimum(((row - nearest_row + 0.5) * _POSITIONS).astype(np.int64), _POSITIONS - 1),
        np.minimum(((column - nearest_column + 0.5) * _POSITIONS).astype(np.int64), _POSITIONS - 1),
    ]
    offsets = np.arange(PATCH) - margin
    corner = (event * rows + nearest_row) * columns + nearest_column
    where = corner[:, None] + (offsets[:, None] * columns + offsets[None, :]).reshape(-1)
    # Lateral fluctuations: every crystal gets a whole number of spots, the shower's energy is kept.
    spots = rng.poisson(patches * profile.spots(energy_gev, p)[:, None])
    share_in_patch = patches.sum(axis=1) / np.maximum(spots.sum(axis=1), 1)
    amounts = spots * (share_in_patch * contained)[:, None]
    total = np.bincount(where.reshape(-1), amounts.reshape(-1), minlength=int(np.prod(canvas_shape)))
    return total.astype(np.float64, copy=False).reshape(canvas_shape)


def _nearest(values: Floats, grid: Floats) -> NDArray[np.int64]:
    """Index of the nearest point of an even ``grid``."""
    place = np.rint((values - grid[0]) / (grid[1] - grid[0]))
    index: NDArray[np.int64] = np.clip(place, 0, len(grid) - 1).astype(np.int64)
    return index
