"""What became of one stressed run, judged against the clean run of the same model on the same batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any, Final, Literal

import torch
from torch import Tensor

Outcome = Literal[
    "masked", "corrected", "recomputed", "detected", "sdc", "critical", "crash", "hang", "answered"
]
"""What one trial came to:

- ``masked``: the output equals the clean one, and the model reported nothing.
- ``corrected``: the model reported events, corrected all of them, and the output equals the clean one.
- ``recomputed``: the same, but something had to be computed again.
- ``detected``: the model refused to answer (FaultError), or reported an event that it did not correct.
- ``sdc``: silent data corruption: the output differs, and nobody noticed, or it was "corrected" wrongly.
- ``critical``: an sdc that changed a decision (argmax of a sample) or made an output non-finite.
- ``crash``: any other exception in the model, or the death of its process.
- ``hang``: no answer within the time limit.
- ``answered``: a run without a fault (its input was harmed, or nothing), and without an alarm.

Without a fault, ``detected`` is a false alarm.
"""

TOLERANCE: Final = 1e-5
"""Outputs are equal if they differ by at most this fraction of the largest absolute clean output.

A corrected layer sums in another order than a clean one, which moves the output by a few units of rounding;
without correction an unharmed run repeats the clean one bit for bit.
"""


_COMPUTED_AGAIN = ("recomputed", "rerun")


def equal(output: Tensor, clean: Tensor, tolerance: float = TOLERANCE) -> bool:
    """Whether ``output`` is ``clean`` within ``tolerance`` × max|clean|; non-finite values must coincide."""
    if output.shape != clean.shape:
        return False
    if torch.equal(output, clean):
        return True
    finite = torch.isfinite(clean)
    if not torch.equal(finite, torch.isfinite(output)):
        return False
    if not torch.equal(torch.nan_to_num(output[~finite]), torch.nan_to_num(clean[~finite])):
        return False
    if not finite.any():
        return True
    scale = clean[finite].abs().max()
    return bool((output[finite] - clean[finite]).abs().max() <= tolerance * scale)


def deviation(output: Tensor, clean: Tensor) -> float | None:
    """Largest absolute difference as a fraction of max|clean|; None where that is not a finite number."""
    if output.shape != clean.shape or clean.numel() == 0:
        return None
    if torch.equal(output, clean):
        return 0.0
    value = float((output.double() - clean.double()).abs().max() / clean.double().abs().max())
    return value if isfinite(value) else None


def decisions(output: Tensor) -> Tensor:
    """The class each sample is put into: argmax over dimension 1; for one logit whether it is positive."""
    if output.dim() == 1:
        return (output > 0).long()
    return (output[:, 0] > 0).long() if output.shape[1] == 1 else output.argmax(1)


def binary_scores(output: Tensor) -> Tensor | None:
    """Score of class 1 of each sample (its logit minus that of class 0); None unless two classes."""
    if output.dim() == 1 or (output.dim() == 2 and output.shape[1] == 1):
        return output.reshape(len(output))
    if output.dim() == 2 and output.shape[1] == 2:
        return output[:, 1] - output[:, 0]
    return None


def corrected(event: Any) -> bool:
    """Whether a protected model says that it corrected this event (an object or a mapping)."""
    return bool(_field(event, "corrected"))


def action(event: Any) -> str:
    """What a protected model did about this event."""
    return str(_field(event, "action") or "unknown")


def recovery(event: Any) -> str:
    """What made a corrected event right: the rung where the model names one, else the action."""
    return str(_field(event, "scheme") or action(event))


def _field(event: Any, name: str) -> Any:
    return event.get(name) if isinstance(event, Mapping) else getattr(event, name, None)


def judge(output: Tensor, clean: Tensor, events: Sequence[Any]) -> Outcome:
    """The outcome of a faulty run that gave an answer; see ``Outcome``."""
    if not all(corrected(event) for event in events):
        return "detected"
    if equal(output, clean):
        if any(action(event) in _COMPUTED_AGAIN for event in events):
            return "recomputed"
        return "corrected" if events else "masked"
    if output.shape != clean.shape or not torch.equal(torch.isfinite(output), torch.isfinite(clean)):
        return "critical"
    return "sdc" if torch.equal(decisions(output), decisions(clean)) else "critical"
