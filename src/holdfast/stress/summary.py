"""From finished trials to records: rates with Wilson intervals, accuracy, ROC-AUC with DeLong intervals.

Metrics of faults: ``masked_rate``, ``corrected_rate`` (recomputed ones included), ``recomputed_rate``,
``detected_rate``, ``sdc_rate`` (critical ones included), ``critical_sdc_rate``, ``crash_rate``,
``hang_rate``, over all trials and, where each trial is one fault, over those of each ``layer``, ``bit`` and
``bit_class`` (named in the labels; totals have none of these), and ``accuracy`` beside ``clean_accuracy``
over the trials that gave an answer. ``recovered_by_rate``: the share of trials in which the rung in the
label ``rung`` put something right. ``pooled_``: the same rates over strata (layer, site, bit) weighted by
their exposure, the number of elements that a fault may hit (``strata.pooled``). Metrics of harmed inputs:
``accuracy``, ``auc`` (two classes), their ``clean_`` counterparts over the same samples,
``false_alarm_rate`` and ``crash_rate``; where one draw (a map of dead channels) is shared by a trial, the
intervals count trials, and a single one has none. Without harm: ``false_alarm_rate`` and ``crash_rate``.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np

from holdfast.core import seeding, stats
from holdfast.core.protocols import Stressor
from holdfast.core.result import Direction, Interval, Label, Record
from holdfast.stress.strata import Stratum, pooled
from holdfast.stress.trial import Line, judged_by

_FAULT_RATES: Final[dict[str, tuple[tuple[str, ...], Direction]]] = {
    "masked_rate": (("masked",), "none"),
    "corrected_rate": (("corrected", "recomputed"), "higher"),
    "recomputed_rate": (("recomputed",), "none"),
    "detected_rate": (("detected",), "none"),
    "sdc_rate": (("sdc", "critical"), "lower"),
    "critical_sdc_rate": (("critical",), "lower"),
    "crash_rate": (("crash",), "lower"),
    "hang_rate": (("hang",), "lower"),
}
_QUIET_RATES: Final[dict[str, tuple[tuple[str, ...], Direction]]] = {
    "false_alarm_rate": (("detected", "corrected", "recomputed"), "lower"),
    "crash_rate": (("crash", "hang"), "lower"),
}
_BREAKDOWNS = (("layer",), ("bit",), ("bit_class",))
_STRATUM = ("layer", "site", "bit")
_RESAMPLES = 1000

Group = tuple[tuple[str, Label], ...]
"""Labels that single out some trials of a stressor; empty for all of them."""


class Tally:
    """The trials of one stressor, folded as they are read; small whatever their number."""

    def __init__(self, breakdowns: Sequence[tuple[str, ...]] = _BREAKDOWNS) -> None:
        self.breakdowns = breakdowns
        self.outcomes: dict[Group, Counter[str]] = defaultdict(Counter)
        self.strata: dict[Group, Stratum] = {}
        self.recovered: Counter[str] = Counter()
        self.right: dict[int, tuple[int, int, int]] = {}
        self.samples: dict[int, Mapping[str, Sequence[Any]]] = {}

    def add(self, line: Line) -> None:
        """Count one trial."""
        labels = line.get("labels", {})
        fitting = [names for names in self.breakdowns if all(name in labels for name in names)]
        for names in [(), *fitting]:
            self.outcomes[_group(labels, names)][line["outcome"]] += 1
        if "elements" in labels:
            stratum = _group(labels, _STRATUM)
            self.strata.setdefault(stratum, Stratum(labels["elements"])).outcomes[line["outcome"]] += 1
        self.recovered.update(line.get("recovered_by", ()))
        if "right" in line:
            self.right[line["trial"]] = (line["right"], line["clean_right"], line["n"])
        if "samples" in line:
            self.samples[line["trial"]] = line["samples"]


def _group(labels: Mapping[str, Label], names: Sequence[str]) -> Group:
    return tuple((name, labels[name]) for name in names if name in labels)


def records(
    lines: Iterable[Line],
    stressors: Mapping[str, Stressor],
    *,
    seed: int,
    simulated: bool,
    classes: Sequence[str] | int,
    labels: Mapping[str, Label],
) -> list[Record]:
    """The records of a campaign; they do not depend on the order of ``lines``."""
    tallies = {
        key: Tally(getattr(stressor, "breakdowns", _BREAKDOWNS)) for key, stressor in stressors.items()
    }
    for line in lines:
        tallies[line["stressor"]].add(line)
    two = (classes if isinstance(classes, int) else len(classes)) == 2
    found = []
    for key, stressor in stressors.items():
        tally, kind = tallies[key], judged_by(stressor)
        own: dict[str, Label] = {**getattr(stressor, "labels", {}), **labels, "stressor": stressor.name}
        about = _About({"seed": seed, "simulated": simulated}, own)
        found += list(_rates(tally, _FAULT_RATES if kind == "outcome" else _QUIET_RATES, about))
        if kind == "outcome":
            found += list(_recovered(tally, about))
            if hasattr(stressor, "strata"):
                found += list(_pooled(tally, about))
            found += list(_fault_accuracy(tally, about, seed))
        elif kind == "quality":
            found += list(_quality(tally, about, two, getattr(stressor, "shared", False)))
    return found


class _About:
    """What the records of one stressor have in common."""

    def __init__(self, common: dict[str, Any], labels: dict[str, Label]) -> None:
        self._common, self._labels = common, labels

    def record(
        self,
        metric: str,
        value: float | None,
        direction: Direction,
        n: int,
        interval: Interval | None,
        group: Group = (),
        message: str | None = None,
    ) -> Record:
        return Record(
            metric=metric,
            value=value,
            unit="1",
            direction=direction,
            n=n,
            interval=interval,
            labels={**self._labels, **dict(group)},
            message=message,
            **self._common,
        )


def _rates(
    tally: Tally, rates: Mapping[str, tuple[tuple[str, ...], Direction]], about: _About
) -> Iterator[Record]:
    names = [(), *tally.breakdowns]

    def order(group: Group) -> tuple[Any, ...]:
        which = names.index(tuple(name for name, _ in group))
        return which, tuple((str(type(value)), value) for _, value in group)

    for group in sorted(tally.outcomes, key=order):
        counts = tally.outcomes[group]
        n = counts.total()
        for metric, (outcomes, direction) in rates.items():
            hits = sum(counts[outcome] for outcome in outcomes)
            yield about.record(metric, hits / n, direction, n, stats.wilson(hits, n), group)


def _recovered(tally: Tally, about: _About) -> Iterator[Record]:
    n = tally.outcomes[()].total()
    for rung, hits in sorted(tally.recovered.items()):
        group = (("rung", rung),)
        yield about.record("recovered_by_rate", hits / n, "none", n, stats.wilson(hits, n), group)


def _pooled(tally: Tally, about: _About) -> Iterator[Record]:
    if not tally.strata:
        return
    n = sum(stratum.trials for stratum in tally.strata.values())
    for metric, (outcomes, direction) in _FAULT_RATES.items():
        rate, interval = pooled(tally.strata.values(), outcomes)
        yield about.record(f"pooled_{metric}", rate, direction, n, interval)


def _fault_accuracy(tally: Tally, about: _About, seed: int) -> Iterator[Record]:
    """Accuracy over the trials that answered; bootstrapped over trials, because trials share samples."""
    if not tally.right:
        return
    table = np.array([tally.right[trial] for trial in sorted(tally.right)], dtype=np.float64)
    n = int(table[:, 2].sum())
    for column, metric in enumerate(("accuracy", "clean_accuracy")):
        interval = stats.bootstrap(
            table[:, column] / table[:, 2],
            lambda shares: float(np.mean(shares)),
            seed=seeding.derive(seed, "summary", metric),
            resamples=_RESAMPLES,
        )
        yield about.record(metric, float(table[:, column].sum() / n), "higher", n, interval)


def _quality(tally: Tally, about: _About, two_classes: bool, shared: bool) -> Iterator[Record]:
    """Quality under harm and without it; where a draw is ``shared`` by a trial, trials are what counts."""
    columns: dict[str, list[Any]] = defaultdict(list)
    for trial in sorted(tally.samples):
        for name, values in tally.samples[trial].items():
            columns[name] += values
        columns["trial"] += [trial] * len(tally.samples[trial]["label"])
    label, trials = np.array(columns["label"]), np.array(columns["trial"])
    for prefix in ("", "clean_"):
        if not len(label):
            continue
        by_trial = shared and not prefix
        right = np.array(columns[f"{prefix}decision"]) == label
        value, interval = float(right.mean()), _share(right, trials if by_trial else None)
        yield about.record(f"{prefix}accuracy", value, "higher", len(label), interval)
        if two_classes and f"{prefix}score" in columns:
            yield _auc(f"{prefix}auc", label, columns[f"{prefix}score"], about, trials if by_trial else None)


def _share(right: Any, trials: Any) -> Interval | None:
    """Interval of a share of right answers; by trial, one is not enough."""
    if trials is None:
        return stats.wilson(int(right.sum()), len(right))
    if len(np.unique(trials)) < 2:
        return None
    _, interval = stats.mean_difference(right, np.zeros(len(right)), groups=trials)
    limits = {"low": max(0.0, interval.low), "high": min(1.0, interval.high)}
    return Interval(**limits, level=interval.level, method="normal, by group")


def _auc(metric: str, label: Any, scores: list[float | None], about: _About, trials: Any) -> Record:
    """ROC-AUC, or a record without a value that says why there is none."""
    n, missing = len(label), sum(score is None for score in scores)
    if missing:
        return about.record(metric, None, "higher", n, None, message=f"{missing} scores are not finite")
    if len(np.unique(label)) < 2:
        return about.record(metric, None, "higher", n, None, message="the samples are of one class only")
    one = trials is not None and len(np.unique(trials)) < 2
    value, interval = stats.roc_auc(label, np.array(scores), groups=None if one else trials)
    return about.record(metric, value, "higher", n, None if one else interval)
