"""Which quantised form of a model is worth having: by measured quality, size and time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from torch import nn

from holdfast.bench.metrics import Evaluation
from holdfast.core.errors import DataError, UsageError
from holdfast.core.result import Interval
from holdfast.core.stats import auc_difference, mean_difference
from holdfast.core.timing import PairedTiming, time_ms, time_pairs
from holdfast.export import candidates as ways
from holdfast.export.onnx import Array, to_onnx

Aim = Literal["speed", "size"]
FLOAT32 = "float32"
GATE = 0.002
"""Largest loss of ROC-AUC (of accuracy for more than two classes) that is accepted."""


@dataclass(frozen=True)
class Measured:
    """One form of the model: its loss of quality, its file and its time; or why it has none.

    ``loss`` and its paired 95 % ``interval`` are of ROC-AUC or accuracy against float32; ``ms`` is the median
    time of a batch, ``ratio`` the median paired ratio to float32 in the same ``runtime`` (which has none).
    """

    name: str
    runtime: str
    path: Path | None = None
    bytes: int | None = None
    loss: float | None = None
    interval: Interval | None = None
    ms: float | None = None
    ratio: float | None = None
    ratio_interval: Interval | None = None
    failure: str | None = None


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
    meta: dict[str, Any] | None = None,
) -> list[Measured]:
    """Build and measure float32 and each candidate in ``folder``; the first is float32 in ONNX Runtime.

    ``calibration`` are batches (n, C, H, W) of training images, ``test`` batches of images and labels. Time
    is that of ``batch`` images, float32 and candidate in turn (A B A B). What does not build, or whose
    logits are not finite, is a Measured with its ``failure``. Raises UsageError without images,
    UnknownNameError for names that are no candidates.
    """
    chosen = ways.find(names)
    shown = list(test)
    if not shown or not calibration:
        raise UsageError("quantize", expected="images to calibrate and to test with", got="none")
    path = folder / f"{FLOAT32}.onnx"
    to_onnx(model, path, meta=meta)
    workshop = ways.Workshop(model.eval(), path, calibration, folder)
    sample = np.resize(shown[0][0], (batch, *shown[0][0].shape[1:]))
    base = ways.float32("onnxruntime", workshop)
    reference = _evaluate(base, shown)
    times = time_ms(lambda: base(sample), pairs)
    found = [
        Measured(
            FLOAT32,
            "onnxruntime",
            path,
            bytes=path.stat().st_size,
            loss=0.0,
            ms=float(np.median(times)),
        )
    ]
    runs: dict[str, ways.Run] = {"onnxruntime": base}
    for candidate in chosen:
        try:
            if candidate.runtime not in runs:
                runs[candidate.runtime] = ways.float32(candidate.runtime, workshop)
            built = candidate.build(workshop)
            evaluation = _evaluate(built.run, shown)
            timing = time_pairs(_call(runs[candidate.runtime], sample), _call(built.run, sample), pairs)
            result = _measured(candidate.name, candidate.runtime, built.path, evaluation, reference, timing)
        except Exception as error:  # whatever a quantiser stumbles over is its result
            result = Measured(candidate.name, candidate.runtime, failure=_reason(error))
        found.append(result)
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


def _measured(
    name: str, runtime: str, path: Path, found: Evaluation, reference: Evaluation, timing: PairedTiming
) -> Measured:
    if found.has_auc:
        loss, interval = auc_difference(found.labels, reference.scores, found.scores)
    else:
        loss, interval = mean_difference(_correct(reference), _correct(found))
    return Measured(
        name=name,
        runtime=runtime,
        path=path,
        bytes=path.stat().st_size,
        loss=loss,
        interval=interval,
        ms=float(np.median(timing.b_ms)),
        ratio=timing.ratio,
        ratio_interval=timing.interval(),
    )


def _evaluate(run: ways.Run, batches: Sequence[tuple[Array, NDArray[np.int64]]]) -> Evaluation:
    logits = np.concatenate([run(images) for images, _ in batches])
    if not np.isfinite(logits).all():
        raise DataError(
            "quantised model", expected="finite logits", got=f"{np.sum(~np.isfinite(logits))} others"
        )
    return Evaluation(logits, np.concatenate([labels for _, labels in batches]))


def _correct(found: Evaluation) -> NDArray[np.float64]:
    return np.asarray(found.logits.argmax(1) == found.labels, dtype=np.float64)


def _call(run: ways.Run, sample: Array) -> Callable[[], Array]:
    return lambda: run(sample)


def _reason(error: Exception) -> str:
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0]}" if text else type(error).__name__
