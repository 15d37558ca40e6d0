"""From the vertex to the crystals: bremsstrahlung, conversion and bending in the tracker.

Tracks are followed in the small-angle picture: the displacement s across the radius r obeys
s'' = 0.3 q B / pT (s, r in m, B in T, pT in GeV), photons fly straight on. Material lies evenly along r.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from holdfast.data.simulate.parameters import ShowerParameters

Floats = NDArray[np.float64]

_CURVATURE_PER_M = 0.3  # 1 GeV in 1 T bends with a curvature of 0.3 per metre


@dataclass(frozen=True)
class Particles:
    """Particles of many events in flat arrays (n,).

    ``event`` indexes the event, ``bend`` is -1 for positrons, 0 for photons, +1 for electrons, which bend
    towards larger phi; ``u`` is the traversed share of the tracker's material, ``s_m`` and ``slope`` the
    displacement along phi and its derivative.
    """

    event: NDArray[np.int64]
    bend: Floats
    energy_gev: Floats
    u: Floats
    s_m: Floats
    slope: Floats

    def take(self, which: NDArray[np.bool_] | NDArray[np.int64]) -> Particles:
        """The selected particles."""
        return Particles(*(getattr(self, name)[which] for name in self.__dataclass_fields__))

    @staticmethod
    def join(parts: list[Particles]) -> Particles:
        """All particles of ``parts`` in order."""
        names = Particles.__dataclass_fields__
        return Particles(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


def tracker_x0(eta: Floats, p: ShowerParameters) -> Floats:
    """Thickness of the tracker in radiation lengths along |eta|."""
    rise = (np.abs(eta) / p.eta_barrel) ** p.tracker_eta_power
    return p.tracker_x0_min + (p.tracker_x0_max - p.tracker_x0_min) * rise


def propagate(primaries: Particles, eta: Floats, rng: np.random.Generator, p: ShowerParameters) -> Particles:
    """Follow one primary an event through the tracker; return all particles at the crystals.

    ``eta`` (events,) gives thickness and pT. Particles below ``particle_min_gev`` are dropped. After
    ``generations`` rounds of emission and conversion the remaining particles fly on undisturbed.
    """
    thickness = tracker_x0(eta, p)
    cosh_eta = np.cosh(eta)
    arrived: list[Particles] = []
    current = primaries
    for _ in range(p.generations):
        photons, charged = current.take(current.bend == 0), current.take(current.bend != 0)
        straight, pairs = _convert(photons, thickness, rng, p)
        ended, emitted = _radiate(charged, thickness, cosh_eta, rng, p)
        arrived += [_fly(straight, p), ended]
        current = Particles.join([pairs, emitted])
        current = current.take(current.energy_gev > p.particle_min_gev)
        if len(current.event) == 0:
            break
    photons, charged = current.take(current.bend == 0), current.take(current.bend != 0)
    arrived += [_fly(photons, p), _bend_to_end(charged, cosh_eta, p)]
    return Particles.join(arrived)


def _radius(u: Floats, p: ShowerParameters) -> Floats:
    return p.tracker_inner_m + u * (p.tracker_outer_m - p.tracker_inner_m)


def _bent(
    particles: Particles, distance: Floats, cosh_eta: Floats, p: ShowerParameters
) -> tuple[Floats, Floats]:
    """Displacement and slope after ``distance`` in m along r."""
    pt = particles.energy_gev / cosh_eta[particles.event]
    curvature = _CURVATURE_PER_M * p.field_tesla * particles.bend / pt
    s = particles.s_m + particles.slope * distance + 0.5 * curvature * distance**2
    return s, particles.slope + curvature * distance


def _fly(particles: Particles, p: ShowerParameters) -> Particles:
    """Photons at the crystals."""
    distance = p.ecal_radius_m - _radius(particles.u, p)
    s = particles.s_m + particles.slope * distance
    return Particles(
        particles.event, particles.bend, particles.energy_gev, np.ones_like(s), s, particles.slope
    )


def _bend_to_end(particles: Particles, cosh_eta: Floats, p: ShowerParameters) -> Particles:
    """Charged particles at the crystals."""
    s, slope = _bent(particles, p.ecal_radius_m - _radius(particles.u, p), cosh_eta, p)
    return Particles(particles.event, particles.bend, particles.energy_gev, np.ones_like(s), s, slope)


def _convert(
    photons: Particles, thickness: Floats, rng: np.random.Generator, p: ShowerParameters
) -> tuple[Particles, Particles]:
    """Photons that pass, and the pairs of those that convert (7/9 per radiation length).

    The electron's energy share x follows 1 - 4/3 x (1 - x), the Bethe-Heitler spectrum in the limit of
    complete screening, drawn as 6/7 flat and 1/7 (x - 1/2)².
    """
    n = len(photons.event)
    u = photons.u + rng.exponential(9 / 7, n) / thickness[photons.event]
    flat, cubic = rng.random((2, n)), rng.random(n)
    share = np.where(flat[0] < 6 / 7, flat[1], 0.5 + 0.5 * np.cbrt(2 * cubic - 1))
    converts = u < 1
    parents = photons.take(converts)
    u, share = u[converts], share[converts]
    s = parents.s_m + parents.slope * (_radius(u, p) - _radius(parents.u, p))
    electrons, positrons = (
        Particles(parents.event, np.full_like(s, bend), parents.energy_gev * fraction, u, s, parents.slope)
        for bend, fraction in ((1.0, share), (-1.0, 1 - share))
    )
    return photons.take(~converts), Particles.join([electrons, positrons])


def _radiate(
    charged: Particles, thickness: Floats, cosh_eta: Floats, rng: np.random.Generator, p: ShowerParameters
) -> tuple[Particles, Particles]:
    """Charged particles at the crystals, and the photons they radiated on the way.

    Photons of energy share y follow 4/(3y) (1 - y + 3/4 y²) per radiation length above
    ``brems_min_fraction`` (complete screening); drawn by thinning a Poisson process with rate 4/(3y).
    """
    log_min = np.log(p.brems_min_fraction)
    rate = -4 / 3 * log_min
    ended: list[Particles] = []
    emitted: list[Particles] = []
    while len(charged.event):
        n = len(charged.event)
        u = charged.u + rng.exponential(1 / rate, n) / thickness[charged.event]
        share = np.exp(log_min * rng.random(n))
        accepted = rng.random(n) < 1 - share + 0.75 * share**2
        inside = (u < 1) & (charged.energy_gev > p.particle_min_gev)
        ended.append(_bend_to_end(charged.take(~inside), cosh_eta, p))
        charged, u, share = charged.take(inside), u[inside], np.where(accepted, share, 0.0)[inside]
        s, slope = _bent(charged, _radius(u, p) - _radius(charged.u, p), cosh_eta, p)
        lost = charged.energy_gev * share
        photons = Particles(charged.event, np.zeros_like(s), lost, u, s, slope)
        emitted.append(photons.take(share > 0))
        charged = Particles(charged.event, charged.bend, charged.energy_gev - lost, u, s, slope)
    nothing = charged
    return Particles.join([*ended, nothing]), Particles.join([*emitted, nothing])
