"""Packages: data, weights and tools in a store where a folder's name is the hash of its content."""

from holdfast.hub.packages.installing import Installed, Planned, install, installed, planned

__all__ = ["Installed", "Planned", "install", "installed", "planned"]
