"""What each scheme alone makes of a batch of trials."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import torch
from torch import Tensor

from holdfast.abft import schemes
from holdfast.abft.checksum import Sums
from holdfast.abft.schemes import CLEAN, DAMAGED, LOCATED, Finding, off
from holdfast.abft.threshold import Thresholds
from holdfast.programs.protection_faults import Trials
from holdfast.programs.protection_stand import Stand

Scheme = Callable[[Tensor, Sums, Thresholds], Finding]
SCHEMES: dict[str, Scheme] = {
    "CoC-D": lambda blocks, co, tau: schemes.coc_d(blocks, co.s5, tau),
    "CoC": lambda blocks, co, tau: schemes.coc(blocks, co.s5, co.s6, co.s7, tau),
    "RC": lambda blocks, co, tau: schemes.row(blocks, co.s1, co.s3, tau),
    "ClC": lambda blocks, co, tau: schemes.column(blocks, co.s2, co.s4, tau),
    "FC": lambda blocks, co, tau: schemes.full(blocks, co.s1, co.s2, co.s5, co.s6, co.s7, tau),
}
OUTCOMES = ("detected", "located", "corrected", "discarded", "misjudged")


def judge(name: str, stand: Stand, trials: Trials) -> Counter[str]:
    """How many of the trials were ``detected``, ``located``, ``corrected``, ``discarded``, ``misjudged``.

    Counted too: ``trials`` (those with an effect, or with a damaged checksum); with CoC-D ``confined``, those
    whose damage lies within one row or one column; the branches of FC that located by Co5 and Co7, or by Co5
    and Co6. Detected: some position is not CLEAN. Located: LOCATED, and
    nothing else, where the output is off. Corrected: the output is right in the end, within the stand's
    tolerance, and was changed. Discarded: DAMAGED wherever it is not CLEAN. Misjudged: "corrected", and wrong
    in the end, or right data called damaged the other way round: DAMAGED where the output is off.
    """
    found = SCHEMES[name](trials.blocks, trials.co, stand.tau)
    spoiled = ~((trials.blocks - trials.clean).abs() <= stand.tolerance)
    wrong = (~((found.blocks - trials.clean).abs() <= stand.tolerance)).flatten(0, 1).any(0)
    hit = spoiled.flatten(0, 1).any(0)
    count = int(trials.trial.max()) + 1

    def some(flags: Tensor) -> Tensor:
        return torch.zeros(count, dtype=torch.bool).index_put((trials.trial,), flags, accumulate=True)

    def every(flags: Tensor) -> Tensor:
        return ~some(~flags)

    state = found.state
    effect = some(hit)
    damage_only = ~effect
    counted = effect if bool(effect.any()) else damage_only
    flagged, located = some(state != CLEAN), every((state == LOCATED) | ~hit) & effect
    right = every(~wrong)
    misjudged = some((state == LOCATED) & wrong) | some((state == DAMAGED) & hit)
    tally = {
        "trials": counted,
        "detected": flagged & counted,
        "located": located,
        "corrected": located & right,
        "discarded": damage_only & counted & flagged & every((state == CLEAN) | (state == DAMAGED)),
        "misjudged": misjudged & counted,
    }
    if name == "CoC-D":
        tally["confined"] = _confined(spoiled, trials.trial, count) & counted
    if name == "FC":
        by_co7, by_co6 = _fc_branches(trials, stand.tau, state)
        tally["FC, Co2 damaged"] = some(by_co7) & located & right
        tally["FC, Co1 damaged"] = some(by_co6) & located & right
    return Counter({key: int(flags.sum()) for key, flags in tally.items()})


def _confined(spoiled: Tensor, trial: Tensor, count: int) -> Tensor:
    """(count,): whether all damage (N, M, V) of a trial lies in one row or in one column of blocks."""
    n, m, _ = spoiled.shape
    hit = torch.zeros(n, m, count).index_add(2, trial, spoiled.float()) > 0
    return (hit.any(1).sum(0) == 1) | (hit.any(0).sum(0) == 1)


def _fc_branches(trials: Trials, tau: Thresholds, state: Tensor) -> tuple[Tensor, Tensor]:
    """(V,) each: where FC can have located only by Co5 and Co7 (Co2 sees nothing), or Co5 and Co6 (Co1)."""
    rows = off(trials.co.s2 - trials.blocks.sum(1), tau.t2).any(0)
    columns = off(trials.co.s1 - trials.blocks.sum(0), tau.t1).any(0)
    located = state == LOCATED
    return located & columns & ~rows, located & rows & ~columns
