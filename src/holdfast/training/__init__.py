"""Training: the loop, what it minimises, its checkpoints and its logs."""

from holdfast.training import adversarial, detector, fast, services
from holdfast.training.estimate import Estimate
from holdfast.training.initial import start_from
from holdfast.training.loop import fit
from holdfast.training.objectives import Objective
from holdfast.training.pretraining import pretrain_masked
from holdfast.training.run import FitResult
from holdfast.training.trackers import VOLATILE

__all__ = [
    "VOLATILE",
    "Estimate",
    "FitResult",
    "Objective",
    "adversarial",
    "detector",
    "fast",
    "fit",
    "pretrain_masked",
    "services",
    "start_from",
]
