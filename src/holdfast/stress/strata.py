"""Rates over strata, and how many trials they need."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from math import ceil

from scipy import stats as distributions

from holdfast.core.errors import UsageError
from holdfast.core.result import Interval
from holdfast.core.stats import wilson


@dataclass
class Stratum:
    """Outcomes of the trials within one stratum, and its ``exposure``: how many faults it stands for."""

    exposure: int
    outcomes: Counter[str] = field(default_factory=Counter)

    @property
    def trials(self) -> int:
        """Number of trials."""
        return self.outcomes.total()


def pooled(
    strata: Iterable[Stratum], outcomes: Collection[str], level: float = 0.95
) -> tuple[float, Interval]:
    """The rate of ``outcomes`` over all strata, each weighted by its exposure, and its interval.

    p = Σ_h E_h p_h / Σ_h E_h: what a fault would do that hits every element and bit with equal chance. The
    interval is Wilson's with Kish's effective number of trials 1 / Σ_h (W_h² / n_h), W_h = E_h / Σ E (Kish,
    Survey Sampling, 1965), which is at most the number of trials, and conservative: it leaves aside that
    trials within a stratum are alike. Raises UsageError without trials.
    """
    tried = [stratum for stratum in strata if stratum.trials and stratum.exposure]
    if not tried:
        raise UsageError("pooled rate", expected="strata with trials", got="none")
    total = sum(stratum.exposure for stratum in tried)
    shares = [stratum.exposure / total for stratum in tried]
    hits = [sum(stratum.outcomes[outcome] for outcome in outcomes) for stratum in tried]
    rate = sum(share * hit / stratum.trials for share, hit, stratum in zip(shares, hits, tried, strict=True))
    effective = 1 / sum(share**2 / stratum.trials for share, stratum in zip(shares, tried, strict=True))
    rate = min(1.0, rate) if any(hits) else 0.0
    return rate, wilson(rate * effective, effective, level)


def exact_upper(hits: int, n: int, confidence: float = 0.95) -> float:
    """The largest rate that ``hits`` of ``n`` do not exclude, one-sided (Clopper and Pearson 1934)."""
    if not 0 <= hits <= n or n == 0:
        raise UsageError("rate", expected="0 <= hits <= n with n > 0", got=f"{hits} of {n}")
    return 1.0 if hits == n else float(distributions.beta.ppf(_inside(confidence), hits + 1, n - hits))


def trials_to_exclude(rate: float, *, hits: int = 0, confidence: float = 0.95) -> int:
    """How many trials with at most ``hits`` hits show that the true rate is below ``rate``.

    Exact binomial, one-sided: the least n with P(at most ``hits`` of n | rate) <= 1 - confidence. For no hits
    and 95 % that is 3 / rate (the rule of three). Raises UsageError unless 0 < rate < 1.
    """
    if not 0 < rate < 1 or hits < 0:
        raise UsageError("rate to exclude", expected="a number in (0, 1), hits >= 0", got=(rate, hits))
    doubt = 1 - _inside(confidence)
    low, high = hits, hits + 1
    while distributions.binom.cdf(hits, high, rate) > doubt:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if distributions.binom.cdf(hits, middle, rate) > doubt else (low, middle)
    return high


def trials_for_width(half_width: float, *, p_max: float = 0.5, confidence: float = 0.95) -> int:
    """How many trials give a Wilson interval of at most ``half_width`` to each side of its centre.

    For every true rate up to ``p_max`` (or from 1 - ``p_max`` on). Raises UsageError for numbers out of
    range.
    """
    if not 0 < half_width < 1 or not 0 <= p_max <= 1:
        raise UsageError("trials", expected="half_width in (0, 1), p_max in [0, 1]", got=(half_width, p_max))
    worst = min(p_max, 0.5)

    def too_wide(n: int) -> bool:
        interval = wilson(worst * n, n, _inside(confidence))
        return (interval.high - interval.low) / 2 > half_width

    low, high = 0, 1
    while too_wide(high):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if too_wide(middle) else (low, middle)
    return high


@dataclass(frozen=True)
class TrialPlan:
    """``per_stratum`` trials in each of ``strata`` strata."""

    per_stratum: int
    strata: int

    @property
    def total(self) -> int:
        """All trials."""
        return self.per_stratum * self.strata


def plan_trials(
    *,
    half_width: float | None = None,
    p_max: float | None = None,
    confidence: float = 0.95,
    strata: int = 1,
    each: bool = False,
) -> TrialPlan:
    """How many trials a campaign over ``strata`` strata needs.

    With ``half_width``: so that the Wilson interval of the rate has that half-width, for rates up to
    ``p_max`` (default 0.5, the worst). Without: so that no hit at all shows the rate to be below ``p_max``.
    The rate over all strata is meant, with equal weights, or with ``each`` that of every stratum by itself.
    Trials are rounded up to the same number in every stratum. Raises UsageError if neither is given.
    """
    if strata < 1:
        raise UsageError("trials", expected="at least one stratum", got=strata)
    if half_width is not None:
        needed = trials_for_width(half_width, p_max=0.5 if p_max is None else p_max, confidence=confidence)
    elif p_max is not None:
        needed = trials_to_exclude(p_max, confidence=confidence)
    else:
        raise UsageError("trials", expected="half_width or p_max", got="neither")
    return TrialPlan(needed if each else ceil(needed / strata), strata)


def _inside(confidence: float) -> float:
    if not 0 < confidence < 1:
        raise UsageError("confidence", expected="a number in (0, 1)", got=confidence)
    return confidence
