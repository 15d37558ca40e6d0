"""Simulated electron and photon images in the official ML4SCI layout."""

from holdfast.data.simulate.parameters import SIMULATOR_VERSION, ShowerParameters
from holdfast.data.simulate.write import simulate

__all__ = ["SIMULATOR_VERSION", "ShowerParameters", "simulate"]
