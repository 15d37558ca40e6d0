"""Stress: bit flips, adversarial inputs, noise, dead channels, and the campaign that measures their harm."""

from holdfast.stress import campaign
from holdfast.stress.attacks import FGSM, PGD
from holdfast.stress.bitflip import BitFlip, from_json, to_json
from holdfast.stress.flips import BitFlips, sample_faults
from holdfast.stress.injection import Injection, inject
from holdfast.stress.masking import DeadChannels
from holdfast.stress.noise import GaussianNoise
from holdfast.stress.nothing import Nothing
from holdfast.stress.registry import create, stressors

__all__ = [
    "FGSM",
    "PGD",
    "BitFlip",
    "BitFlips",
    "DeadChannels",
    "GaussianNoise",
    "Injection",
    "Nothing",
    "campaign",
    "create",
    "from_json",
    "inject",
    "sample_faults",
    "stressors",
    "to_json",
]
