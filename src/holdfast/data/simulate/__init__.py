"""Simulated images in the official layouts: electrons and photons (HDF5), quark and gluon jets (Parquet)."""

from holdfast.data.simulate.jet_parameters import JET_SIMULATOR_VERSION, JetParameters
from holdfast.data.simulate.parameters import SIMULATOR_VERSION, ShowerParameters
from holdfast.data.simulate.write import simulate
from holdfast.data.simulate.write_jets import simulate_jets

__all__ = [
    "JET_SIMULATOR_VERSION",
    "SIMULATOR_VERSION",
    "JetParameters",
    "ShowerParameters",
    "simulate",
    "simulate_jets",
]
