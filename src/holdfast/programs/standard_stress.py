"""The standard campaign: what every model of a hardening report meets unless another is asked for."""

from __future__ import annotations

from typing import Any

_FLIPS: list[dict[str, Any]] = [
    {"name": "bit_flips", "site": "output", "bits": "exponent", "trials": 600},
    {"name": "bit_flips", "site": "weight", "bits": "exponent", "trials": 300},
]
_DEAD: list[dict[str, Any]] = [{"name": "dead_channels", "rate": rate} for rate in (0.02, 0.1)]


def standard_stress(unit_gev: object) -> list[dict[str, Any]]:
    """Stressors with options: strengths in GeV where the data have them, else in input units and fractions.

    ``unit_gev`` is that of the data's ``info``: None where inputs are no energies.
    """
    if unit_gev is None:
        noise = [{"name": "gaussian_noise", "sigma_fraction_of_max": size} for size in (0.02, 0.05, 0.1)]
        attacks = [{"name": "pgd", "eps": size} for size in (0.5 / 255, 2 / 255)]
    else:
        noise = [{"name": "gaussian_noise", "sigma_gev": size} for size in (0.1, 0.3, 1.0)]
        attacks = [{"name": "pgd", "eps_gev": size} for size in (0.05, 0.2)]
    return [*_FLIPS, *noise, *_DEAD, *attacks]
