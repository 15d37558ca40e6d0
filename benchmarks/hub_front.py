"""Noise-aware fronts of 10⁵ points: time of ``dominated``, checked against its definition first."""

from __future__ import annotations

import argparse
from pathlib import Path
from time import perf_counter

import numpy as np

from holdfast.core.result import Interval, Label, Record, write_records
from holdfast.hub.dominance import dominated
from holdfast.hub.frontier import pareto

POINTS = 100_000


def points(kind: str, n: int, objectives: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Costs and half widths (n, objectives): uniform, or all on the front; with ±1 % where noisy."""
    rng = np.random.default_rng(seed)
    costs = rng.random((n, objectives))
    if "front" in kind:
        costs = -np.log(costs)
        costs /= costs.sum(axis=1, keepdims=True)
    return costs, rng.random(costs.shape) * (0.01 if "noisy" in kind else 0.0)


def check() -> None:
    """Raise AssertionError if a front differs from its definition."""
    for kind in ("uniform", "noisy", "front", "noisy front"):
        costs, width = points(kind, 400, 3, 1)
        low, high = costs - width, costs + width
        slow = [
            any((a <= b).all() and (h < w).any() for a, h in zip(costs, high, strict=True))
            for b, w in zip(costs, low, strict=True)
        ]
        assert dominated(costs, low, high).tolist() == slow, kind


def main() -> None:
    """Print seconds by kind and objectives; with --out write records."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    check()
    records = []
    for objectives in (2, 3):
        for kind in ("uniform", "noisy", "front"):
            costs, width = points(kind, POINTS, objectives, 0)
            times = []
            for _ in range(arguments.repeats):
                start = perf_counter()
                mask = dominated(costs, costs - width, costs + width)
                times.append(perf_counter() - start)
            labels: dict[str, Label] = {"kind": kind, "objectives": objectives, "points": POINTS}
            records.append(_record("front_time", times, {**labels, "front": int((~mask).sum())}))
    costs, width = points("noisy", POINTS, 2, 0)
    rows = [{"a": float(a), "b": float(b)} for a, b in costs]
    ends = [
        {"a": (float(a - u), float(a + u)), "b": (float(b - v), float(b + v))}
        for (a, b), (u, v) in zip(costs, width, strict=True)
    ]
    start = perf_counter()
    pareto(rows, {"a": "lower", "b": "lower"}, ends)
    labels = {"kind": "noisy, of dictionaries", "objectives": 2, "points": POINTS}
    records.append(_record("front_time", [perf_counter() - start], labels))
    for record in records:
        print(f"{record.value:.3f} s  {record.labels}")
    if arguments.out:
        write_records(arguments.out, records)


def _record(metric: str, times: list[float], labels: dict[str, Label]) -> Record:
    ends = Interval(low=min(times), high=max(times), method="range") if len(times) > 1 else None
    return Record(
        metric=metric,
        value=float(np.median(times)),
        unit="s",
        direction="lower",
        n=len(times),
        interval=ends,
        timed=True,
        labels=labels,
    )


if __name__ == "__main__":
    main()
