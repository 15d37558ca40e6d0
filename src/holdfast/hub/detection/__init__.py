"""Detection of installed software, by plugins of kind ``soft``."""

from holdfast.hub.detection.choice import ask_on_terminal, choose, within
from holdfast.hub.detection.detecting import detect, outcome, outcome_of_all
from holdfast.hub.detection.found import Found
from holdfast.hub.detection.looking import Outcome

__all__ = ["Found", "Outcome", "ask_on_terminal", "choose", "detect", "outcome", "outcome_of_all", "within"]
