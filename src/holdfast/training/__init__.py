"""Training: the loop, what it minimises, its checkpoints and its logs."""

from holdfast.training import adversarial, fast
from holdfast.training.loop import fit
from holdfast.training.objectives import Objective
from holdfast.training.run import FitResult
from holdfast.training.trackers import VOLATILE

__all__ = ["VOLATILE", "FitResult", "Objective", "adversarial", "fast", "fit"]
