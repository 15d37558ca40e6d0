"""Every number of the shower simulation, with its unit in its name."""

from __future__ import annotations

from dataclasses import dataclass

SIMULATOR_VERSION = "0.2.0"
"""Changes whenever the same seed gives other images."""


@dataclass(frozen=True)
class ShowerParameters:
    """Beam, tracker, crystals and readout of the simulated barrel calorimeter.

    The beam is that of the published sets: particles of fixed transverse momentum, flat in |eta| up to the
    last crystal whose 32×32 crop still lies in the barrel, so that energies reach from 50 to 90 GeV. Noise,
    thresholds, readout, energy scale and ``tracker_eta_power`` were set by hand to resemble 100 published
    images. docs/simulation.md says where each number is from.
    """

    # Beam
    pt_gev: float = 50.0
    eta_max: float = 1.2
    positron_fraction: float = 0.0

    # Field and tracker: thickness in radiation lengths grows from x0_min at eta 0 to x0_max at eta_barrel.
    field_tesla: float = 3.8
    tracker_inner_m: float = 0.04
    tracker_outer_m: float = 1.15
    tracker_x0_min: float = 0.4
    tracker_x0_max: float = 1.9
    tracker_eta_power: float = 1.6
    eta_barrel: float = 1.479
    brems_min_fraction: float = 0.005
    particle_min_gev: float = 0.05
    generations: int = 3

    # PbWO4 crystals
    ecal_radius_m: float = 1.29
    crystal_phi_rad: float = 0.01745
    crystal_cm: float = 2.2
    moliere_cm: float = 2.19
    radiation_cm: float = 0.89
    depth_x0: float = 25.8
    critical_gev: float = 8.74e-3
    z_effective: float = 68.4

    # Readout. The scale makes up for what leaks out of a 5x5 sum; resolution is the quadratic sum of
    # stochastic term, constant term and noise; all crystals within readout_rows and readout_columns of one
    # above the readout seed are read, others above zero suppression.
    energy_scale: float = 1.015
    stochastic_sqrt_gev: float = 0.028
    constant_fraction: float = 0.005
    noise_gev: float = 0.0385
    readout_seed_gev: float = 0.7
    readout_rows: int = 1
    readout_columns: int = 3
    zero_suppression_gev: float = 0.1

    # Time: resolution noise_ns * noise_gev / E (+) constant_ns, one common jitter an event.
    time_noise_ns: float = 28.0
    time_constant_ns: float = 0.5
    time_jitter_ns: float = 0.2
    time_limit_ns: float = 50.0

    # Units of the file
    energy_unit_gev: float = 50.0
    time_unit_ns: float = 50.0
