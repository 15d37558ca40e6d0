"""Which quantised form of a model is worth having: by measured quality, size and time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from torch import nn

from holdfast.core.errors import UsageError
from holdfast.export import candidates as ways
from holdfast.export.apart import Apart
from holdfast.export.measuring import Judge, Measured, failed
from holdfast.export.onnx import Array

Aim = Literal["speed", "size"]
GATE = 0.002
"""Largest loss of ROC-AUC (of accuracy for more than two classes) that is accepted."""


@dataclass(frozen=True)
class Choice:
    """The form that is chosen, the reason in words, and for each other one why not."""

    chosen: Measured
    reason: str
    verdicts: dict[str, str]


def quantize(
    model: nn.Module,
    folder: Path,
    *,
    calibration: Sequence[Array],
    test: Iterable[tuple[Array, NDArray[np.int64]]],
    names: Sequence[str] | None = None,
    batch: int = 1,
    pairs: int = 30,
    limit_s: float | None = None,
    meta: dict[str, Any] | None = None,
) -> list[Measured]:
    """Build and measure float32 and each candidate in ``folder``; the first is float32 in ONNX Runtime.

    ``calibration`` are batches (n, C, H, W) of training images, ``test`` batches of images and labels, which
    are kept in a file in ``folder``. Time is that of ``batch`` images, float32 and candidate in turn
    (A B A B). What does not build, or whose logits are not finite, is a Measured with its ``failure``. With
    ``limit_s`` candidates are built and measured in a process of their own, where one that takes longer than
    so many seconds is ended, and has failed. Raises UsageError without images or for a limit that is not
    positive, UnknownNameError for names that are no candidates.
    """
    chosen = ways.find(names)
    if limit_s is not None and not limit_s > 0:
        raise UsageError("limit_s", expected="a positive number of seconds", got=limit_s)
    judge = Judge.prepare(model, folder, calibration, test, batch=batch, pairs=pairs, meta=meta)
    if limit_s is None:
        return [judge.float32(), *map(judge, chosen)]
    found = [judge.float32()]
    with Apart(judge) as measure:
        for candidate in chosen:
            try:
                found.append(measure(candidate, limit_s))
            except Exception as error:  # a time limit, a crash
                found.append(failed(candidate, error))
    return found


def choose(measured: Sequence[Measured], aim: Aim = "speed", gate: float = GATE) -> Choice:
    """The form to use. The first of ``measured`` is float32, which is kept where nothing else will do.

    Admitted is a form whose loss is shown to be at most ``gate`` (the upper end of its interval), and which
    is shown to be faster than float32 in its runtime (the upper end of its ratio below 1) or, with aim
    ``size``, smaller than float32. Among the admitted and float32 the fastest or the smallest is chosen.
    Raises UsageError for another aim.
    """
    if aim not in get_args(Aim):
        raise UsageError("aim", expected=f"one of {', '.join(get_args(Aim))}", got=repr(aim))
    base = measured[0]
    refused = {each.name: _refusal(each, base, aim, gate) for each in measured[1:]}
    admitted = [each for each in measured[1:] if refused[each.name] is None]
    # What is shown to be faster in the same runtime needs no second comparison with float32 there.
    if aim == "size" or not any(each.runtime == base.runtime for each in admitted):
        admitted.append(base)
    best = min(admitted, key=lambda each: _cost(each, aim))
    word = "faster" if aim == "speed" else "smaller"
    verdicts = {each.name: refused[each.name] or f"good, but not the {word[:-1]}st" for each in measured[1:]}
    verdicts[base.name] = "the reference"
    if best is base:
        reason = f"No other form is {word} with a loss of at most {gate:g}."
    else:
        reason = (
            f"It loses {_loss(best)} of at most {gate:g}, and of all such forms it is the {word[:-1]}st: "
        )
        reason += f"{best.bytes} B instead of {base.bytes} B, {_time(best)}."
    verdicts[best.name] = "chosen"
    return Choice(best, reason, verdicts)


def _refusal(each: Measured, base: Measured, aim: Aim, gate: float) -> str | None:
    if each.failure is not None:
        return f"failed: {each.failure}"
    assert each.interval is not None
    assert each.bytes is not None
    if not each.interval.high <= gate:
        return f"loses {_loss(each)}: not shown to be at most {gate:g}"
    if aim == "speed" and not _high(each) < 1:
        return f"not shown to be faster: {_time(each)}"
    if aim == "size" and base.bytes is not None and each.bytes >= base.bytes:
        return f"not smaller: {each.bytes} B instead of {base.bytes} B"
    return None


def _high(each: Measured) -> float:
    assert each.ratio_interval is not None
    return each.ratio_interval.high


def _cost(each: Measured, aim: Aim) -> float:
    cost = each.ms if aim == "speed" else each.bytes
    assert cost is not None
    return cost


def _loss(each: Measured) -> str:
    assert each.interval is not None
    return f"{each.loss:.5f} [{each.interval.low:.5f}, {each.interval.high:.5f}]"


def _time(each: Measured) -> str:
    assert each.ratio_interval is not None
    low, high = each.ratio_interval.low, each.ratio_interval.high
    return f"{each.ratio:.2f} [{low:.2f}, {high:.2f}] times the time of float32 in {each.runtime}"
