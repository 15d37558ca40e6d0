"""Other ways to a small robust network, to compare subnetworks of random networks with."""

from holdfast.subnet.baselines.matching import matched_width
from holdfast.subnet.baselines.methods import METHODS, train

__all__ = ["METHODS", "matched_width", "train"]
