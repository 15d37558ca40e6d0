"""From the particles of jets to images: tracks, crystals and hadron towers of a parametric detector."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from holdfast.data.simulate import crystals
from holdfast.data.simulate.jet_parameters import JetParameters
from holdfast.data.simulate.jets import Jets, wrapped

Floats = NDArray[np.float64]

SIZE = 125
CHANNELS = ("tracks", "ECAL", "HCAL")
CELL_RAD = 2 * np.pi / 360
"""Side of a crystal in eta and phi."""

_SHIFT = 4  # towers by which the hottest one may be off the jet's axis: less than 0.4
_AT_ONCE = 50  # jets whose canvases are in memory together
_CURVATURE_PER_M = 0.3  # 1 GeV in 1 T bends with a curvature of 0.3 per metre
_PHOTON, _ELECTRON, _MUON = 22, 11, 13


def jet_images(jets: Jets, rng: np.random.Generator, p: JetParameters) -> NDArray[np.float32]:
    """Images (n, 3, 125, 125) float32 in GeV: pT of tracks, energy in ECAL, energy in HCAL.

    Axes are eta and phi in crystals of 0.01745. The middle of an image is the hottest HCAL tower within 0.35
    of the jet's axis. A tower's energy is divided evenly among its 25 crystals, so that sums are energies.
    """
    images = np.empty((len(jets), 3, SIZE, SIZE), dtype=np.float32)
    for first in range(0, len(jets), _AT_ONCE):
        which = slice(first, first + _AT_ONCE)
        images[which] = _Canvas(jets, which, p).fill(rng)
    return images


def calorimeter_position(
    pt_gev: Floats, eta: Floats, phi: Floats, charge: Floats, radius_m: float, field_tesla: float
) -> tuple[Floats, Floats, NDArray[np.bool_]]:
    """Where particles from the vertex cross the cylinder of ``radius_m``: eta, phi, and whether they do.

    The path is a helix; positive charges turn to smaller phi. Those that curl up before are given the
    position where they turn back. All (n,).
    """
    half = 0.5 * _CURVATURE_PER_M * field_tesla * np.abs(charge) / np.maximum(pt_gev, 1e-9) * radius_m
    turn = np.arcsin(np.minimum(half, 1.0))
    stretch = np.where(half > 1e-9, turn / np.maximum(half, 1e-9), 1.0)
    return np.arcsinh(np.sinh(eta) * stretch), phi - np.sign(charge) * turn, half < 1.0


class _Canvas:
    """Some jets with their particles, on a grid of whole towers around each jet's axis."""

    def __init__(self, jets: Jets, which: slice, p: JetParameters) -> None:
        particles = slice(*np.searchsorted(jets.jet, (which.start, which.stop)))
        self.jets, self.particles, self.p = jets, particles, p
        self.tower = p.tower_cells
        self.half = SIZE // self.tower // 2 + _SHIFT + 1
        self.side = 2 * self.half + 1
        self.eta, self.phi = jets.eta[which], jets.phi[which]
        self.n = len(self.eta)
        self.jet = jets.jet[particles] - which.start
        self.origin = [
            (np.floor(axis / (self.tower * CELL_RAD)) - self.half) * self.tower
            for axis in (self.eta, self.phi)
        ]

    def fill(self, rng: np.random.Generator) -> NDArray[np.float32]:
        """The images of these jets."""
        p, jets, part = self.p, self.jets, self.particles
        pid, energy = np.abs(jets.pid[part]), jets.energy_gev[part]
        pt, charge = jets.particle_pt_gev[part], jets.charge[part]
        direction = (jets.particle_eta[part], jets.particle_phi[part])
        tracks = self._tracks(pt, charge, *direction, rng)

        field, radius = p.ecal.field_tesla, p.ecal.ecal_radius_m
        at_eta, at_phi, reached = calorimeter_position(pt, *direction, charge, radius, field)
        light = (pid == _PHOTON) | (pid == _ELECTRON)
        in_ecal = self._ecal_share(energy, pid, charge, rng)
        hit = reached & (in_ecal > p.ecal.particle_min_gev)
        row, column = self._cells(self.jet[hit], at_eta[hit], at_phi[hit])
        side = self.side * self.tower
        ecal = crystals.deposit(
            (self.n, side, side), self.jet[hit], in_ecal[hit], pid[hit] == _PHOTON, row, column, rng, p.ecal
        )

        at_eta, at_phi, _ = calorimeter_position(pt, *direction, charge, p.hcal_radius_m, field)
        in_hcal = np.where(light | ~reached, 0.0, energy - in_ecal)
        in_hcal = np.where(pid == _MUON, np.minimum(in_hcal, p.ionisation_hcal_gev), in_hcal)
        hcal = self._hcal(in_hcal, at_eta, at_phi, rng)
        return self._read(tracks, ecal, hcal, rng)

    def _cells(self, jet: NDArray[np.int64], eta: Floats, phi: Floats) -> tuple[Floats, Floats]:
        """Row and column in cells of the canvas, cell k reaching from k - 1/2 to k + 1/2."""
        phi = self.phi[jet] + wrapped(phi - self.phi[jet])
        return (
            eta / CELL_RAD - self.origin[0][jet] - 0.5,
            phi / CELL_RAD - self.origin[1][jet] - 0.5,
        )

    def _sum(self, jet: NDArray[np.int64], row: Floats, column: Floats, what: Floats, side: int) -> Floats:
        """``what`` summed in the cells (n, side, side) nearest to (row, column); dropped outside."""
        r, c = np.rint(row).astype(np.int64), np.rint(column).astype(np.int64)
        inside = (r >= 0) & (r < side) & (c >= 0) & (c < side)
        where = (jet * side + r) * side + c
        total = np.bincount(where[inside], what[inside], minlength=self.n * side * side)
        return total.astype(np.float64, copy=False).reshape(self.n, side, side)

    def _tracks(
        self, pt: Floats, charge: Floats, eta: Floats, phi: Floats, rng: np.random.Generator
    ) -> Floats:
        """Transverse momentum of the tracks, at their direction at the vertex."""
        p = self.p
        found = (charge != 0) & (rng.random(len(pt)) < p.track_efficiency)
        width = np.hypot(p.track_resolution, p.track_resolution_per_gev * pt)
        measured = pt * (1 + width * rng.standard_normal(len(pt)))
        found &= measured > p.track_pt_min_gev
        row, column = self._cells(self.jet[found], eta[found], phi[found])
        return self._sum(self.jet[found], row, column, measured[found], self.side * self.tower)

    def _ecal_share(
        self, energy: Floats, pid: NDArray[np.int64], charge: Floats, rng: np.random.Generator
    ) -> Floats:
        """Energy that each particle leaves in the crystals."""
        p = self.p
        share = rng.beta(p.hadron_ecal_share_a, p.hadron_ecal_share_b, len(energy)) * energy
        passes = (rng.random(len(energy)) >= p.hadron_ecal_interacts) | (pid == _MUON)
        ionisation = np.where(charge != 0, np.minimum(p.ionisation_ecal_gev, energy), 0.0)
        light = (pid == _PHOTON) | (pid == _ELECTRON)
        return np.where(light, energy, np.where(passes, ionisation, share))

    def _hcal(self, energy: Floats, eta: Floats, phi: Floats, rng: np.random.Generator) -> Floats:
        """Energy measured in the towers (n, side, side): each shower in a few spots around its place."""
        p = self.p
        some = energy > 0
        jet, energy = self.jet[some], energy[some]
        sigma = np.sqrt(p.hcal_stochastic_sqrt_gev**2 * energy + (p.hcal_constant_fraction * energy) ** 2)
        measured = np.maximum(energy + sigma * rng.standard_normal(len(energy)), 0.0)
        off = p.hcal_spread_rad * rng.standard_normal((2, p.hcal_spots, len(energy)))
        many = np.broadcast_to(jet, off.shape[1:]).reshape(-1)
        row, column = self._cells(many, (eta[some] + off[0]).reshape(-1), (phi[some] + off[1]).reshape(-1))
        spots = np.broadcast_to(measured / p.hcal_spots, off.shape[1:]).reshape(-1)
        row, column = ((place + 0.5) / self.tower - 0.5 for place in (row, column))
        towers = self._sum(many, row, column, spots, self.side)
        towers += p.hcal_noise_gev * rng.standard_normal(towers.shape)
        return np.where(towers > p.hcal_zero_suppression_gev, towers, 0.0)

    def _read(
        self, tracks: Floats, ecal: Floats, hcal: Floats, rng: np.random.Generator
    ) -> NDArray[np.float32]:
        """Crop around the hottest tower and add the crystals' resolution, noise and threshold."""
        near = slice(self.half - _SHIFT, self.half + _SHIFT + 1)
        window = hcal[:, near, near].reshape(self.n, -1)
        hottest = np.where(window.max(axis=1) > 0, window.argmax(axis=1), (2 * _SHIFT + 1) ** 2 // 2)
        row, column = np.divmod(hottest, 2 * _SHIFT + 1)
        row, column = row + 1, column + 1  # of the image's first tower
        images = np.empty((self.n, 3, SIZE, SIZE), dtype=np.float32)
        towers = _crop(hcal, row, column, SIZE // self.tower) / self.tower**2
        images[:, 2] = towers.repeat(self.tower, axis=1).repeat(self.tower, axis=2)
        images[:, 0] = _crop(tracks, row * self.tower, column * self.tower, SIZE)
        p = self.p.ecal
        energy = _crop(ecal, row * self.tower, column * self.tower, SIZE).astype(np.float32)
        sigma2 = p.noise_gev**2 + p.stochastic_sqrt_gev**2 * energy + (p.constant_fraction * energy) ** 2
        energy += np.sqrt(sigma2) * rng.standard_normal(energy.shape, dtype=np.float32)
        images[:, 1] = np.where(energy > p.zero_suppression_gev, energy, 0.0)
        return images


def _crop(values: Floats, row: NDArray[np.int64], column: NDArray[np.int64], size: int) -> Floats:
    """Windows (n, size, size) of ``values`` that begin at (row, column), both (n,)."""
    windows = np.lib.stride_tricks.sliding_window_view(values, (size, size), axis=(1, 2))
    picked: Floats = windows[np.arange(len(values)), row, column]
    return picked
