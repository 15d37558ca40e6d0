"""Images of single electrons and photons in the barrel calorimeter."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from holdfast.core import seeding
from holdfast.core.errors import UsageError
from holdfast.data.simulate import crystals, material, profile, readout
from holdfast.data.simulate.parameters import ShowerParameters

CLASSES = ("photon", "electron")
_CANVAS_ROWS, _CANVAS_COLUMNS = 16, 64


def images(
    particle: str, events: int, *, seed: int, chunk: int = 0, parameters: ShowerParameters | None = None
) -> NDArray[np.float32]:
    """Simulate ``events`` images of ``particle`` ("photon" or "electron"): (events, 32, 32, 2) float32.

    Axes are event, i-eta, i-phi, channel: energy / 50 GeV and time / 50 ns; the hottest crystal is at
    [16, 16]. The result depends on particle, events, seed, chunk and parameters alone. Raises UsageError.
    """
    p = parameters or ShowerParameters()
    if particle not in CLASSES:
        raise UsageError("particle", expected=f"one of {', '.join(CLASSES)}", got=repr(particle))
    if events < 1:
        raise UsageError("events", expected="at least 1", got=events)
    rng = seeding.generator(seed, "shower", particle, chunk)
    eta = rng.uniform(0, p.eta_max, events)
    energy = p.pt_gev * np.cosh(eta)
    if particle == "photon":
        bend = np.zeros(events)
    else:
        bend = np.where(rng.random(events) < p.positron_fraction, -1.0, 1.0)
    primaries = material.Particles(
        np.arange(events), bend, energy, np.zeros(events), np.zeros(events), np.zeros(events)
    )
    arrived = material.propagate(primaries, eta, rng, p)
    arc = _arc_at_depth(arrived, np.cosh(eta), p)
    # Displacements are counted from the energy's centre, so that the canvas holds every image.
    weight = np.bincount(arrived.event, arrived.energy_gev, minlength=events)
    centre = np.bincount(arrived.event, arrived.energy_gev * arc, minlength=events) / weight
    impact = rng.uniform(-0.5, 0.5, (2, events))
    crystal_m = p.ecal_radius_m * p.crystal_phi_rad
    column = (arc - centre[arrived.event]) / crystal_m + impact[1][arrived.event]
    deposits = crystals.deposit(
        (events, _CANVAS_ROWS, _CANVAS_COLUMNS),
        arrived.event,
        arrived.energy_gev,
        arrived.bend == 0,
        _CANVAS_ROWS // 2 + impact[0][arrived.event],
        _CANVAS_COLUMNS // 2 + column,
        rng,
        p,
    )
    return readout.measure(deposits, rng, p)


def _arc_at_depth(
    arrived: material.Particles, cosh_eta: NDArray[np.float64], p: ShowerParameters
) -> NDArray[np.float64]:
    """Arc in m at the crystals' front that points from the vertex to where each shower has its centre.

    Showers go on along their particle's direction and crystals point to the vertex, so what the field has
    bent moves on to further crystals with the depth.
    """
    depth = profile.mean_depth(arrived.energy_gev, p) + np.where(arrived.bend == 0, 9 / 7, 0.0)
    radial_m = depth * p.radiation_cm / 100 / cosh_eta[arrived.event]
    arc: NDArray[np.float64] = (arrived.s_m + arrived.slope * radial_m) / (1 + radial_m / p.ecal_radius_m)
    return arc
