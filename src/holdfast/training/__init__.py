"""Training: the loop, what it minimises, its checkpoints and its logs."""

from holdfast.training import adversarial
from holdfast.training.loop import FitResult, fit
from holdfast.training.objectives import Objective
from holdfast.training.trackers import VOLATILE

__all__ = ["VOLATILE", "FitResult", "Objective", "adversarial", "fit"]
