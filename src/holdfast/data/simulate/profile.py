"""GFLASH parametrisation of electromagnetic showers in a homogeneous calorimeter (Grindhammer, Peters 1993).

Lengths are in radiation lengths along the shower and in Molière radii across it; ``tau`` is depth over the
depth T of the shower maximum.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from holdfast.data.simulate.parameters import ShowerParameters

Floats = NDArray[np.float64]

# Below this the parametrised widths of ln T and ln alpha diverge; softer particles share its shape.
MIN_ENERGY_GEV = 1.0


def mean_log_alpha(energy_gev: Floats, p: ShowerParameters) -> Floats:
    """Mean of ln alpha, (n,), for energies in GeV, (n,)."""
    log_y = np.log(np.maximum(energy_gev, MIN_ENERGY_GEV) / p.critical_gev)
    return np.log(0.81 + (0.458 + 2.26 / p.z_effective) * log_y)


def spread_log_alpha(energy_gev: Floats, p: ShowerParameters) -> Floats:
    """Standard deviation of ln alpha, (n,)."""
    log_y = np.log(np.maximum(energy_gev, MIN_ENERGY_GEV) / p.critical_gev)
    return 1 / (-0.58 + 0.86 * log_y)


def draw_longitudinal(
    energy_gev: Floats, rng: np.random.Generator, p: ShowerParameters
) -> tuple[Floats, Floats]:
    """Draw the longitudinal profile of each shower: depth of the maximum T in X0 and alpha, both (n,).

    The deposit along depth t is a Gamma density of shape alpha and scale T / (alpha - 1); ln T and ln alpha
    are normal with correlation rho.
    """
    log_y = np.log(np.maximum(energy_gev, MIN_ENERGY_GEV) / p.critical_gev)
    rho = 0.705 - 0.023 * log_y
    first, second = rng.standard_normal((2, len(energy_gev)))
    log_t = np.log(log_y - 0.812) + first / (-1.4 + 1.26 * log_y)
    mixed = rho * first + np.sqrt(1 - rho**2) * second
    log_alpha = mean_log_alpha(energy_gev, p) + mixed * spread_log_alpha(energy_gev, p)
    return np.exp(log_t), np.maximum(np.exp(log_alpha), 1.05)


def mean_depth(energy_gev: Floats, p: ShowerParameters) -> Floats:
    """Depth of a shower's centre of energy behind its start in X0: T alpha / (alpha - 1), (n,)."""
    log_y = np.log(np.maximum(energy_gev, MIN_ENERGY_GEV) / p.critical_gev)
    alpha = np.exp(mean_log_alpha(energy_gev, p))
    depth: Floats = (log_y - 0.812) * alpha / (alpha - 1)
    return depth


def spots(energy_gev: Floats, p: ShowerParameters) -> Floats:
    """Number of energy spots that a shower's lateral fluctuations correspond to, (n,)."""
    number: Floats = 93 * np.log(p.z_effective) * energy_gev**0.876
    return number


def radial(tau: Floats, energy_gev: Floats | float, p: ShowerParameters) -> tuple[Floats, Floats, Floats]:
    """Radii of core and tail in Molière radii and the core's share, at depth ``tau``, all of its shape.

    The density in radius r of each part is 2 r R² / (r² + R²)².
    """
    z, log_e = p.z_effective, np.log(np.maximum(energy_gev, MIN_ENERGY_GEV))
    core = 0.0251 + 0.00319 * log_e + (0.1162 - 0.000381 * z) * tau
    shift = tau - 0.645
    tail = (0.659 - 0.00309 * z) * (np.exp(-2.59 * shift) + np.exp((0.3585 + 0.0421 * log_e) * shift))
    exponent = (0.401 + 0.00187 * z - tau) / (1.313 - 0.0686 * log_e)
    share = (2.632 - 0.00094 * z) * np.exp(exponent - np.exp(exponent))
    return core, tail, np.clip(share, 0.0, 1.0)
