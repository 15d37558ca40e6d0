"""What models meet unless something else is asked for: the standard campaign, and the detector's ladder."""

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


def detector_stress(unit_gev: object, size: int) -> list[dict[str, Any]]:
    """What may go wrong in a detector, each at several strengths, for images of ``size`` cells a side.

    Gaussian noise in GeV (of the maximum where inputs are no energies), relative to each reading, and N(0,
    0.1) in input units; masked patches; dead channels; a spread of the gains, and a shifted scale.
    """
    noise = (
        [{"sigma_fraction_of_max": size} for size in (0.01, 0.02, 0.05, 0.1, 0.2, 0.5)]
        if unit_gev is None
        else [{"sigma_gev": size} for size in (0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)]
    )
    noise += [{"sigma_relative": size} for size in (0.05, 0.1, 0.2, 0.5, 1.0)]
    noise += [{"sigma_input": 0.1}]
    patch = max(1, size // 8)
    return [
        *({"name": "gaussian_noise", **each} for each in noise),
        *({"name": "masked_patches", "count": count, "patch": patch} for count in (1, 2, 4, 8, 16)),
        *({"name": "dead_channels", "rate": rate} for rate in (0.01, 0.02, 0.05, 0.1, 0.2, 0.5)),
        *({"name": "miscalibration", "spread": spread} for spread in (0.02, 0.05, 0.1, 0.2, 0.5)),
        *(
            {"name": "miscalibration", "spread": 0.0, "scale": scale}
            for scale in (0.8, 0.9, 0.95, 1.05, 1.1, 1.25)
        ),
    ]
