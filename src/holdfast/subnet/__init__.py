"""Subnetworks of random networks: found by scores, stored as seed and mask."""

from holdfast.subnet.channels import without_dead_channels
from holdfast.subnet.matrices import Twin, as_matrices, worth_matrices
from holdfast.subnet.packed import Packed
from holdfast.subnet.prune import prune
from holdfast.subnet.rates import adaptive_counts
from holdfast.subnet.subnetwork import Recipe, Subnetwork
from holdfast.subnet.unpacking import load_packed

__all__ = [
    "Packed",
    "Recipe",
    "Subnetwork",
    "Twin",
    "adaptive_counts",
    "as_matrices",
    "load_packed",
    "prune",
    "without_dead_channels",
    "worth_matrices",
]
