"""Reduction: of a good point, or of a failing one, drop every choice that does not matter."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from holdfast.core.errors import UsageError
from holdfast.core.stats import bootstrap

Verdict = Literal["keeps", "loses", "undecided"]
Choices = Mapping[str, Any]
Judge = Callable[[dict[str, Any]], Verdict]


@dataclass(frozen=True)
class Reduction:
    """The choices that matter (``kept``), those that do not (``dropped``: they take their plain value), and
    those of which repetition could not tell (``undecided``, among those kept); how many points were judged.
    """

    kept: dict[str, Any]
    dropped: dict[str, Any]
    undecided: tuple[str, ...]
    judged: int


def reduce(point: Choices, plain: Choices, judge: Judge) -> Reduction:
    """Drop choices of ``point``, back to their values in ``plain``, as long as ``judge`` says "keeps".

    Delta debugging (Zeller and Hildebrandt, TSE 2002): halves first, then ever smaller parts, until no single
    choice can be dropped. "undecided" drops nothing. ``judge`` gets whole points and is asked once for each.
    Raises UsageError if ``plain`` lacks a choice.
    """
    missing = [name for name in point if name not in plain]
    if missing:
        raise UsageError("reduction", expected="a plain value for every choice", got=f"none for {missing}")
    seen: dict[tuple[str, ...], Verdict] = {}

    def verdict(names: Sequence[str]) -> Verdict:
        key = tuple(names)
        if key not in seen:
            seen[key] = judge({name: point[name] if name in key else plain[name] for name in point})
        return seen[key]

    names = [name for name, value in point.items() if value != plain[name]]
    parts = 2
    while names:
        size = -(-len(names) // parts)
        smaller = next(
            (
                rest
                for start in range(0, len(names), size)
                if verdict(rest := names[:start] + names[start + size :]) == "keeps"
            ),
            None,
        )
        if smaller is not None:
            names, parts = smaller, max(2, parts - 1)
        elif size == 1:
            break
        else:
            parts = min(len(names), 2 * parts)
    unsure = [name for name in names if verdict([other for other in names if other != name]) == "undecided"]
    kept = {name: point[name] for name in names}
    dropped = {name: point[name] for name in point if name not in kept and point[name] != plain[name]}
    return Reduction(kept, dropped, tuple(unsure), len(seen))


def not_worse(
    measure: Callable[[dict[str, Any]], float],
    point: Choices,
    *,
    margin: float = 0.02,
    most: int = 15,
    least: int = 5,
    higher: bool = False,
    seed: int = 0,
) -> Judge:
    """A judge that compares by measurement: a candidate "keeps" if it is surely less than ``margin`` worse.

    Candidate and ``point`` are measured in turn, ``least`` to ``most`` pairs; the ratio of each pair (> 0;
    its inverse for ``higher``) survives a machine that drifts. It keeps if the whole 95 % interval of the
    median ratio lies below 1 + ``margin``, loses if it lies above, and is undecided if ``most`` pairs do not
    tell. An error of ``measure`` passes through for the point itself and counts as "loses" for a candidate.
    """
    from holdfast.core.errors import HoldfastError

    def judge(candidate: dict[str, Any]) -> Verdict:
        ratios: list[float] = []
        while len(ratios) < most:
            reference = measure(dict(point))
            try:
                value = measure(candidate)
            except HoldfastError:
                return "loses"
            if not (value > 0 and reference > 0):
                raise UsageError("reduction", expected="values above zero", got=f"{value}, {reference}")
            ratios.append(reference / value if higher else value / reference)
            if len(ratios) >= least:
                ends = bootstrap(np.array(ratios), seed=seed, resamples=500)
                if ends.high < 1 + margin:
                    return "keeps"
                if ends.low > 1 + margin:
                    return "loses"
        return "undecided"

    return judge


def still_fails(run_once: Callable[[dict[str, Any]], object], *, times: int = 1) -> Judge:
    """A judge for a failing point: a candidate "keeps" if each of ``times`` runs ends in a HoldfastError.

    One that fails now and then is "undecided".
    """
    from holdfast.core.errors import HoldfastError

    def judge(candidate: dict[str, Any]) -> Verdict:
        failures = 0
        for _ in range(times):
            try:
                run_once(candidate)
            except HoldfastError:
                failures += 1
        return "keeps" if failures == times else "undecided" if failures else "loses"

    return judge
