"""Whether confidences are what they say: temperature scaling, calibration error, reliability diagram."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, logsumexp, softmax

from holdfast.bench.metrics import Evaluation
from holdfast.core.errors import DataError, UsageError
from holdfast.core.result import Interval, Label, Record
from holdfast.core.seeding import derive
from holdfast.core.stats import wilson

BINS = 15
LIMITS = (0.02, 50.0)
"""Temperatures that are looked for: beyond them a model is either blind or always right."""


@dataclass(frozen=True)
class Bin:
    """Images of similar confidence: mean ``confidence``, share of right answers, its interval, number."""

    confidence: float
    accuracy: float
    interval: Interval
    n: int


def fit_temperature(found: Evaluation) -> float:
    """The temperature T that minimises the mean cross-entropy of logits / T (Guo et al. 2017).

    ``found`` should be of data that the model was not trained on: the validation split. T > 1: the model was
    too sure of itself. The loss is convex in 1/T, so the minimum found is the only one; it is sought in
    ``LIMITS``: for a model that is always right the answer is near their end. Raises DataError for logits
    that are not finite.
    """
    logits = _finite(found)
    own = logits[np.arange(len(logits)), found.labels]

    def loss(log_temperature: float) -> float:
        scaled = logits / np.exp(log_temperature)
        return float(np.mean(logsumexp(scaled, axis=1) - own / np.exp(log_temperature)))

    best = minimize_scalar(loss, bounds=tuple(np.log(LIMITS)), method="bounded", options={"xatol": 1e-6})
    return float(np.exp(best.x))


def temperature_interval(found: Evaluation, temperature: float) -> Interval:
    """The 95 % interval of the ``temperature`` that was fitted to ``found``.

    Normal in 1/T, with the variance of an M-estimator (Huber 1967), which holds for a model of any form.
    """
    logits = _finite(found)
    p = softmax(logits / temperature, axis=1)
    mean = np.sum(p * logits, axis=1)
    slope = mean - logits[np.arange(len(logits)), found.labels]
    curvature = float(np.mean(np.sum(p * (logits - mean[:, None]) ** 2, axis=1)))
    half = 1.959964 * float(np.sqrt(np.mean(slope**2) / len(slope))) / max(curvature, 1e-12)
    low, high = (1 / max(1 / temperature + sign * half, 1 / LIMITS[1]) for sign in (1, -1))
    return Interval(low=min(low, temperature), high=max(high, temperature), method="sandwich")


def reliability(found: Evaluation, bins: int = BINS) -> list[Bin]:
    """The reliability diagram: bins of equal numbers of images, by confidence (largest probability).

    Equal numbers rather than equal widths, so that no bin is empty and none tells by a handful of images.
    Raises UsageError for fewer images than bins, DataError for logits that are not finite.
    """
    confidence, right = _answers(found)
    return [
        Bin(
            float(confidence[part].mean()),
            float(right[part].mean()),
            wilson(int(right[part].sum()), len(part)),
            len(part),
        )
        for part in _parts(confidence, bins)
    ]


def calibration_error(confidence: NDArray[np.float64], right: NDArray[np.bool_], bins: int = BINS) -> float:
    """Expected calibration error: mean over images of |accuracy - mean confidence| of their bin.

    ``confidence`` and ``right`` are (n,); bins as in ``reliability`` (Naeini et al. 2015, there of equal
    width). Even a perfectly calibrated model has an error above 0 on finitely many images: see
    ``calibration_records``.
    """
    parts = _parts(confidence, bins)
    return float(
        sum(abs(float(np.sum(right[part]) - np.sum(confidence[part]))) for part in parts) / len(confidence)
    )


def calibration_records(
    found: Evaluation,
    *,
    bins: int = BINS,
    resamples: int = 500,
    labels: Mapping[str, Label] | None = None,
    seed: int = 0,
    simulated: bool = False,
) -> list[Record]:
    """Records ``ece``, ``ece_if_calibrated``, ``cross_entropy`` and, by bin, ``reliability``.

    ``ece`` has a bootstrap interval over images, moved so that its median is the value: resampled images
    repeat themselves, which makes every ECE larger. ``ece_if_calibrated`` is what a model of the same
    confidences would show if every one of them were true, on as many images: median and central 95 % over
    simulated answers. Only an ECE above that interval speaks against the calibration. ``cross_entropy``, in
    nats, has a bootstrap interval. ``reliability`` is the accuracy of a bin, its confidence in the labels.
    """
    confidence, right = _answers(found)
    rng = np.random.default_rng(derive(seed, "calibration"))
    n = len(right)
    losses = -log_softmax(found.logits.astype(np.float64), axis=1)[np.arange(n), found.labels]
    own, ideal, loss = np.empty(resamples), np.empty(resamples), np.empty(resamples)
    for i in range(resamples):
        drawn = rng.integers(0, n, n)
        own[i] = calibration_error(confidence[drawn], right[drawn], bins)
        ideal[i] = calibration_error(confidence, rng.random(n) < confidence, bins)
        loss[i] = losses[drawn].mean()
    common: dict[str, Any] = {"n": n, "seed": seed, "simulated": simulated, "direction": "lower"}
    told = dict(labels or {})
    value = calibration_error(confidence, right, bins)
    own = np.maximum(0.0, own - np.median(own) + value)
    records = [
        Record(metric=metric, value=size, unit=unit, interval=_span(draws, method), labels=told, **common)
        for metric, size, unit, draws, method in (
            ("ece", value, "1", own, "centred bootstrap"),
            ("ece_if_calibrated", float(np.median(ideal)), "1", ideal, "simulated answers"),
            ("cross_entropy", float(losses.mean()), "nat", loss, "bootstrap"),
        )
    ]
    for number, each in enumerate(reliability(found, bins)):
        place: dict[str, Label] = {"bin": number, "confidence": round(each.confidence, 6)}
        records.append(
            Record(
                metric="reliability",
                value=each.accuracy,
                unit="1",
                direction="none",
                n=each.n,
                interval=each.interval,
                labels={**told, **place},
                seed=seed,
                simulated=simulated,
            )
        )
    return records


def at_temperature(found: Evaluation, temperature: float) -> Evaluation:
    """What the model would have answered at ``temperature``."""
    return Evaluation((found.logits / np.float32(temperature)).astype(np.float32), found.labels)


def _answers(found: Evaluation) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Confidence (n,) of each decision, and whether it is right."""
    log_p = log_softmax(_finite(found), axis=1)
    return np.exp(log_p.max(1)), log_p.argmax(1) == found.labels


def _finite(found: Evaluation) -> NDArray[np.float64]:
    logits = found.logits.astype(np.float64)
    bad = int(np.sum(~np.isfinite(logits).all(1)))
    if bad:
        raise DataError("calibration", expected="finite logits", got=f"{bad} of {len(logits)} that are not")
    return logits


def _parts(confidence: NDArray[np.float64], bins: int) -> list[NDArray[np.intp]]:
    if not 1 <= bins <= len(confidence):
        raise UsageError("bins", expected=f"1 to {len(confidence)}, the images", got=bins)
    return np.array_split(np.argsort(confidence, kind="stable"), bins)


def _span(draws: NDArray[np.float64], method: str) -> Interval:
    low, high = np.quantile(draws, [0.025, 0.975])
    return Interval(low=float(low), high=float(high), method=method)
