"""Every number of the jet simulation, with its unit in its name."""

from __future__ import annotations

from dataclasses import dataclass, field

from holdfast.data.simulate.parameters import ShowerParameters

JET_SIMULATOR_VERSION = "0.1.0"
"""Changes whenever the same seed gives other jets."""


@dataclass(frozen=True)
class JetParameters:
    """Collisions, jets, and the parametric tracker, ECAL and HCAL that see them.

    The detector is a barrel without end: one cell size in eta and phi everywhere, so that jets at any
    eta look alike. Crystals are those of ``ecal``. docs/simulation.md says where each number is from.
    """

    # Collisions and jets
    collision_gev: float = 13_000.0
    pt_hat_min_gev: float = 80.0
    pt_hat_max_gev: float = 120.0
    jet_radius: float = 0.4
    jet_pt_min_gev: float = 70.0
    jet_eta_max: float = 2.0

    # Tracks: efficiency of charged particles above track_pt_min, resolution constant (+) linear in pT.
    track_pt_min_gev: float = 0.5
    track_efficiency: float = 0.9
    track_resolution: float = 0.01
    track_resolution_per_gev: float = 1.5e-4

    # Hadrons and muons in the crystals: most begin a shower there, the others leave what ionisation leaves.
    ecal: ShowerParameters = field(default_factory=ShowerParameters)
    hadron_ecal_interacts: float = 0.67
    hadron_ecal_share_a: float = 1.2
    hadron_ecal_share_b: float = 2.2
    ionisation_ecal_gev: float = 0.25

    # HCAL towers of tower_cells crystals a side
    hcal_radius_m: float = 1.9
    tower_cells: int = 5
    ionisation_hcal_gev: float = 2.0
    hcal_stochastic_sqrt_gev: float = 1.1
    hcal_constant_fraction: float = 0.09
    hcal_spread_rad: float = 0.045
    hcal_spots: int = 8
    hcal_noise_gev: float = 0.2
    hcal_zero_suppression_gev: float = 0.7
