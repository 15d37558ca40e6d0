"""Stress: soft errors, adversarial inputs, noise, dead channels, and the campaign that measures harm."""

from holdfast.stress import campaign
from holdfast.stress.attacks import FGSM, PGD
from holdfast.stress.autoattack import AutoAttack
from holdfast.stress.fault import BitFlip, Fault, FaultedTrial, from_json, to_json, trials_from_json
from holdfast.stress.flips import BitFlips, Faults
from holdfast.stress.gain import Miscalibration
from holdfast.stress.injection import Injection, inject
from holdfast.stress.masking import DeadChannels, MaskedPatches
from holdfast.stress.memory import MemoryFaults
from holdfast.stress.noise import GaussianNoise
from holdfast.stress.nothing import Nothing
from holdfast.stress.paired import paired_differences
from holdfast.stress.registry import create, stressors
from holdfast.stress.replay import Replay
from holdfast.stress.robustness import evaluate_robustness
from holdfast.stress.sampling import sample_faults
from holdfast.stress.strata import plan_trials, trials_to_exclude
from holdfast.stress.transfer import Transferred

__all__ = [
    "FGSM",
    "PGD",
    "AutoAttack",
    "BitFlip",
    "BitFlips",
    "DeadChannels",
    "Fault",
    "FaultedTrial",
    "Faults",
    "GaussianNoise",
    "Injection",
    "MaskedPatches",
    "MemoryFaults",
    "Miscalibration",
    "Nothing",
    "Replay",
    "Transferred",
    "campaign",
    "create",
    "evaluate_robustness",
    "from_json",
    "inject",
    "paired_differences",
    "plan_trials",
    "sample_faults",
    "stressors",
    "to_json",
    "trials_from_json",
    "trials_to_exclude",
]
