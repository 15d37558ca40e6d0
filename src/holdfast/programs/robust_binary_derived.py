"""What the tables say as a whole: the best p, what LBN is worth, who leads, where capacity ends."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

from holdfast.core.result import Label, Record


def derived(records: Sequence[Record]) -> list[Record]:
    """Records that follow from the means of the cells; nothing follows from cells that are absent."""
    found = [r for r in records if r.metric.endswith("_mean") and r.value is not None]
    return [
        record
        for make in (_best_p, _last_norm_gain, _score_scale, _lead, _capacity)
        for record in make(found)
    ]


def chosen(records: Sequence[Record], metric: str = "robust_accuracy_mean", **labels: Label) -> list[Record]:
    """The records of ``metric`` that have all ``labels``."""
    return [
        r
        for r in records
        if r.metric == metric and all(r.labels.get(name) == value for name, value in labels.items())
    ]


def _best_p(records: Sequence[Record]) -> Iterator[Record]:
    cells = chosen(records, table="p-r")
    best: list[tuple[float, float]] = []
    for rate in sorted({float(r.labels["prune_rate"]) for r in cells}):
        row = [r for r in cells if r.labels["prune_rate"] == rate]
        if len(row) > 1:
            top = max(row, key=lambda r: r.value or 0.0)
            best.append((rate, float(top.labels["p"])))
            yield _record("best_p", best[-1][1], top, prune_rate=rate)
    if len(best) > 1:
        rises = sum(later > sooner for (_, sooner), (_, later) in pairwise(best))
        yield _record("best_p_rises", rises, cells[0], n=len(best) - 1)
        yield _record("best_p_drop", best[0][1] - best[-1][1], cells[0])


def _last_norm_gain(records: Sequence[Record]) -> Iterator[Record]:
    for with_it in chosen(records, table="lbn-init", last_norm=True):
        same: dict[str, Any] = {name: with_it.labels[name] for name in ("init", "p")}
        for without in chosen(records, table="lbn-init", last_norm=False, **same):
            gain = (with_it.value or 0.0) - (without.value or 0.0)
            yield _record("last_norm_gain", gain, with_it, unit="%", direction="higher", **same)


def _score_scale(records: Sequence[Record]) -> Iterator[Record]:
    spread = {}
    for last_norm in (False, True):
        row = [r.value or 0.0 for r in chosen(records, table="lbn-a", last_norm=last_norm)]
        if len(row) > 1:
            spread[last_norm] = max(row) - min(row)
    if len(spread) == 2 and spread[False] > 0:
        like = chosen(records, table="lbn-a")[0]
        yield _record("score_scale_spread_ratio", spread[True] / spread[False], like)


def _lead(records: Sequence[Record]) -> Iterator[Record]:
    cells = chosen(records, table="comparison", weights="binary")
    for ours in chosen(cells, method="ours", strategy="p = 0.1"):
        classes = ours.labels["classes"]
        others = [
            r.value or 0.0
            for r in cells
            if r.labels["classes"] == classes and not str(r.labels["method"]).startswith("ours")
        ]
        if others:
            lead = (ours.value or 0.0) - max(others)
            yield _record("lead_over_binary", lead, ours, unit="%", direction="higher", classes=classes)


def _capacity(records: Sequence[Record]) -> Iterator[Record]:
    """Shares of the best accuracy: vanilla's on clean images, adversarial training's on attacked ones."""
    share: dict[str, list[float]] = {}
    for training, metric in (("vanilla", "clean_accuracy_mean"), ("adversarial", "robust_accuracy_mean")):
        row = chosen(records, metric, table="capacity", training=training)
        values = [r.value or 0.0 for r in sorted(row, key=lambda r: float(r.labels["width"]))]
        if len(values) > 2 and max(values) > 0:
            share[training] = [100 * value / max(values) for value in values]
    if len(share) == 2 and len(share["vanilla"]) == len(share["adversarial"]):
        like = chosen(records, table="capacity")[0]
        vanilla, adversarial = share["vanilla"], share["adversarial"]
        half = len(vanilla) // 2
        small = vanilla[0] - adversarial[0]
        big = (adversarial[-1] - adversarial[half]) - (vanilla[-1] - vanilla[half])
        for metric, value in (("vanilla_lead_small", small), ("adversarial_gain_big", big)):
            yield _record(metric, value, like, unit="%", direction="higher")


_KEPT = ("data", "model", "epochs", "judge", "training_images", "test_images", "eps", "seeds")


def _record(metric: str, value: float, like: Record, *, n: int | None = None, **labels: Any) -> Record:
    """A record of the scale of ``like``; ``unit`` and ``direction`` among ``labels`` are its own."""
    unit, direction = labels.pop("unit", "1"), labels.pop("direction", "none")
    kept = {name: like.labels[name] for name in _KEPT if name in like.labels}
    return Record(metric=metric, value=value, unit=unit, direction=direction, n=n, labels={**kept, **labels})
