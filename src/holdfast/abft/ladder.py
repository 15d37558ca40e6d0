"""The multischeme workflow of FT-CNN: what happens after CoC-D has found a layer's output off.

    input as it was?  no: Cd1 damaged → discard it; D damaged → restore it from Cd1, compute again
    CoC → RC → ClC → FC        each only for positions that the ones before left off
    Co5 anew                   it may be what was hit
    compute the layer again    an error of the computing does not come twice
    weights as they were?      no: reload them, compute again; checksums of weights not theirs? renew them
    compute the layer again, TRIES times at most
    FaultError

A rung is run only where it is allowed, and only while correcting costs less than computing the layer again.
Checksums and sums are computed when a rung first needs them and kept for the next.

What has been corrected is verified again. What CoC, RC and ClC did is confirmed by the row and column sums
that they did not use: two errors of one row can imitate a single one between them. Where more than single
blocks were off, D or W may have been hit, with errors that cancel at positions that CoC-D therefore passed:
there the weights are verified and the whole layer is compared once more, with random weights
(``freivalds``). A layer that cannot be compared so is computed again before anything else, if allowed.

Bound. With τ1, τ2, τ5 of ``threshold``, a block of image n and channel m that a rung has corrected is within
2 max(τ1[m], τ2[n]) + τ5 of what it should be, and so is every block of that position, if the fault stayed
within one row or one column; one rounding to the output's dtype comes on top. Positions that CoC-D passes
are within 2 τ5 in their sum.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from math import isclose, prod
from typing import Protocol

import torch
from torch import Tensor

from holdfast.abft import schemes
from holdfast.abft.checksum import counted, image_sum
from holdfast.abft.events import Action, Event, Guard, Kind
from holdfast.abft.product import CHUNK, Product
from holdfast.abft.restore import restore_input
from holdfast.abft.schemes import DAMAGED, LOCATED, Finding, off
from holdfast.abft.threshold import Thresholds
from holdfast.core.errors import FaultError, InputDamaged
from holdfast.kernels import BatchStats

TRIES = 2
"""How often a layer is computed again before its fault counts as persistent."""
# What correcting costs, in multiplications of the layer itself (some 10 ps on two cores): for each of Co1 and
# Co2; where RC, ClC or FC have corrected, for each weight, which is compared with Cw1 and the pristine copy,
# and for each number of D and O, which are summed once more. From timings of 12 layers of ResNets, batches 1
# and 16, on a busy machine: good to a factor of two.
_DEARER = {"Co1": 8, "Co2": 400, "weight": 1000, "number": 200}


class Call(Protocol):
    """One call of a protected layer whose check failed.

    ``d`` (N, C, *space) is the live input, ``cd1`` (C, *space) its sum, in float64 or, of a single image, in
    the dtype of that; ``stats`` its statistics; both were taken before the layer ran. Positions are flat, of
    the output's map. ``outputs``: M. ``whole``: after a correction, ``sound`` can compare the whole output.
    """

    name: str
    outputs: int
    whole: bool
    d: Tensor
    cd1: Tensor
    stats: BatchStats
    threshold: float

    @property
    def product(self) -> Product:
        """The layer as a product."""

    def violated(self) -> Tensor:
        """The positions (V,) that are off now, those with NaN or Inf included."""

    def expected(self, positions: Tensor) -> Tensor:
        """Co5 (V,) float64, free of bias, at ``positions``."""

    def near_co1(self, positions: Tensor) -> Tensor:
        """Co1 (M, V) at ``positions``, as exact as the layer's own output: to compare with, not to use."""

    def thresholds(self) -> Thresholds:
        """All thresholds of this call."""

    def read(self, positions: Tensor) -> Tensor:
        """Blocks (N, M, V) of the output in float64, free of bias."""

    def write(self, positions: Tensor, blocks: Tensor, changed: Tensor) -> None:
        """Put the ``changed`` (N, M, V) ones of ``blocks`` into the output."""

    def discard(self, positions: Tensor) -> None:
        """Believe the output at ``positions``: their checksum is damaged."""

    def sum_input(self) -> tuple[Tensor, BatchStats]:
        """Cd1 and the statistics of ``d`` as it is now."""

    def expect(self, cd1: Tensor) -> None:
        """Use ``cd1`` and its Co5 from now on, at every position."""

    def sound(self) -> bool:
        """Whether the whole output is that of ``d`` and the weights, also where errors cancel in S5."""

    def repair_weights(self) -> str:
        """Reload weights, or renew checksums of weights, that are not as they were; what was done, or ""."""

    def recompute(self) -> None:
        """Run the product again, into the same output, without hooks."""


def recover(call: Call, guard: Guard, *, location: tuple[int, ...] | None, deviation: float) -> None:
    """Make the output of ``call`` right, or raise FaultError; one Event either way.

    Raises InputDamaged where the input is not what it was and cannot be restored from its checksum.
    """
    kind: Kind = "deviation" if deviation < float("inf") else "non-finite"
    if not call.stats.finite:
        kind = "non-finite input"
    trail: list[str] = []
    solved = False
    error = FaultError
    try:
        if guard.on_fault == "correct" and kind != "non-finite input":
            solved = _climb(call, guard, trail)
    except InputDamaged:
        error = InputDamaged
    recorded = guard.on_fault == "record"
    event = Event(
        layer=call.name,
        scheme=_scheme(trail) if solved else "CoC-D",
        kind=kind,
        location=location,
        deviation=deviation,
        threshold=call.threshold,
        action=_action(trail) if solved else "recorded" if recorded else "raised",
        corrected=solved,
        rungs=tuple(trail),
    )
    guard.events.append(event)
    if solved or recorded:
        return
    remedies = {
        "non-finite input": "look at what computed the input: a layer before this one, or the caller",
        "input": "run the model again: the input of this layer was damaged after it had been summed",
    }
    raised = error(
        f"soft error in layer {call.name!r} ({kind})",
        expected=f"a deviation of the checksum of at most {call.threshold:.3g}",
        got=f"{deviation:.3g}" + (f", after {', '.join(trail)}" if trail else ""),
        remedy=remedies.get(
            "input" if error is InputDamaged else kind,
            "run again; if it stays, a weight is damaged beyond its copy: reload the model",
        ),
    )
    raised.event, raised.damaged = event, call.d
    raise raised


def _climb(call: Call, guard: Guard, trail: list[str]) -> bool:
    """Whether the output is right in the end; ``trail`` gets the rungs that were tried, in order."""
    allowed = guard.rungs_of(call.name)
    again = "recompute" in allowed
    tries = TRIES if again else 0
    if again and not call.whole:
        tries -= 1
        if _recomputed(call, trail):  # the quickest; damage of the input or of a weight would come again
            return True
    if _input_mended(call, guard, trail):
        return True
    open_ = call.violated()
    reloaded = False
    rungs = allowed
    if again:
        rungs = _worthwhile(call, len(open_), allowed) if call.whole else ()
    if rungs and open_.numel():
        trail += correct(call, guard, open_, rungs)
        if not call.violated().numel():
            if not {"RC", "ClC", "FC"} & set(trail):
                return True
            reloaded = _weights_repaired(call, trail)
            if not (reloaded and again) and call.sound():
                return True
    if not reloaded and call.whole and _renewed(call, trail):
        return True
    if tries == TRIES and not reloaded:
        tries -= 1
        if _recomputed(call, trail):
            return True
    # What comes again is no error of the computing: a weight is damaged, or a checksum of the weights.
    reloaded = _weights_repaired(call, trail) or reloaded
    if not reloaded and _renewed(call, trail):
        return True
    call.expect(call.cd1)
    return any(_recomputed(call, trail) for _ in range(tries))


def _renewed(call: Call, trail: list[str]) -> bool:
    """Whether the output is right by a new Co5, so that only a checksum was not; renews those of weights."""
    call.expect(call.cd1)
    if call.violated().numel() or _weights_repaired(call, trail) or not call.sound():
        return False
    if "checksums renewed" not in trail:
        trail.append("checksums discarded")
    return True


def _recomputed(call: Call, trail: list[str]) -> bool:
    """Compute the layer again; whether it is right now."""
    call.recompute()
    trail.append("recomputed")
    return not call.violated().numel()


def _weights_repaired(call: Call, trail: list[str]) -> bool:
    """Reload weights, or renew their checksums, that are not as they were; whether weights were not."""
    done = call.repair_weights()
    if done:
        trail.append(done)
    return done == "weights reloaded"


def _input_mended(call: Call, guard: Guard, trail: list[str]) -> bool:
    """Compare the input with Cd1 and its statistics, and mend what differs; whether that made all right.

    Raises InputDamaged where it cannot tell which of the two was hit, as for a flipped sign, or what D was.
    """
    cd1, stats = call.sum_input()
    if torch.equal(cd1, call.cd1):
        return False
    if _alike(stats[:2], call.stats[:2]):
        summed = call.cd1.to(torch.float64)
        kept = (float(summed.abs().max()), float(summed.square().sum()))
        if _alike(kept, call.stats[2:]):
            raise InputDamaged("input", expected="as it was summed", got="changed")
        # D has the statistics it had, and the stored Cd1 has not: so only Cd1 has changed.
        call.expect(cd1)
        trail.append("checksums discarded")
        return not call.violated().numel()
    if restore_input(call.d, call.cd1, cd1, call.stats):
        trail.append("input restored")
        cd1, stats = call.sum_input()
    if not (torch.equal(cd1, call.cd1) and _alike(stats, call.stats)):
        raise InputDamaged("input", expected="as it was summed", got="changed")
    if "recompute" not in guard.rungs_of(call.name):
        return False
    call.recompute()
    return not call.violated().numel()


def _alike(a: Sequence[float], b: Sequence[float]) -> bool:
    return all(isclose(x, y, rel_tol=1e-12) for x, y in zip(a, b, strict=True))


def _chunk(call: Call) -> int:
    return max(1, CHUNK // (call.d.shape[0] * call.outputs))


def _worthwhile(call: Call, count: int, allowed: tuple[str, ...]) -> tuple[str, ...]:
    """Those of the ``allowed`` rungs that cost less than the layer itself at ``count`` positions."""
    n, m, numbers = call.d.shape[0], call.outputs, call.d.numel()
    blocks = n * m * prod(call.product.window.output_size(call.d.shape[2:]))
    each = _DEARER["Co1"] * m + _DEARER["Co2"] * n
    if each * count >= blocks:
        return ()
    products = max(1, call.product.cw1.numel() // call.product.groups)
    confirming = _DEARER["weight"] * m + _DEARER["number"] * (blocks + numbers) / products
    return allowed if each * count + confirming < blocks else tuple(r for r in allowed if r == "CoC")


def correct(call: Call, guard: Guard, positions: Tensor, rungs: tuple[str, ...]) -> tuple[str, ...]:
    """Run ``rungs`` on ``positions`` (V,), each on what the ones before left off; return those that ran.

    Positions are worked off in pieces, so that memory stays bounded. Nothing is computed again.
    """
    trail: list[str] = []
    for chunk in torch.split(positions, _chunk(call)):
        _correct(_Case(call, guard, chunk), rungs, trail)
    return tuple(trail)


class _Case:
    """The violated positions of a call, with the checksums there, each computed when first asked for."""

    def __init__(self, call: Call, guard: Guard, positions: Tensor) -> None:
        self.call, self.guard, self.positions = call, guard, positions
        self.blocks = call.read(positions)

    def _tapped(self, site: str, values: Tensor) -> Tensor:
        self.guard.tapped(self.call.name, site, values)
        return values

    def _sums(self, d: Tensor, kernels: Tensor, site: str) -> Tensor:
        return self._tapped(site, self.call.product.by_sums(d, self.positions, [kernels])[:, 0])

    @cached_property
    def tau(self) -> Thresholds:
        return self.call.thresholds()

    @cached_property
    def cd2(self) -> Tensor:
        return self._tapped("cd2", image_sum(self.call.d, weighted=True))

    @cached_property
    def cw2(self) -> Tensor:
        return self._tapped("cw2", self.call.product.cw2)

    @cached_property
    def co1(self) -> Tensor:
        return self._tapped("co1", self.call.product.by_kernels(self.call.cd1[None], self.positions)[0])

    @cached_property
    def seen_co1(self) -> Tensor:
        """Co1 to compare with: much cheaper where no rung has used it."""
        if "co1" in self.__dict__ or self.guard.tap is not None:
            return self.co1
        return self.call.near_co1(self.positions)

    @cached_property
    def co2(self) -> Tensor:
        return self._sums(self.call.d, self.call.product.cw1, "co2")

    @cached_property
    def co3(self) -> Tensor:
        return self._tapped("co3", self.call.product.by_kernels(self.cd2[None], self.positions)[0])

    @cached_property
    def co4(self) -> Tensor:
        return self._sums(self.call.d, self.cw2, "co4")

    @cached_property
    def co5(self) -> Tensor:
        return self.call.expected(self.positions)

    @cached_property
    def co6(self) -> Tensor:
        return self._sums(self.call.cd1[None], self.cw2, "co6")[0]

    @cached_property
    def co7(self) -> Tensor:
        if self.guard.tap is None:  # the same number, without a sum over the whole of D
            return counted(len(self.blocks), self.blocks) @ self.co2
        return self._sums(self.cd2[None], self.call.product.cw1, "co7")[0]

    def run(self, rung: str) -> Finding:
        """What the scheme ``rung`` says of the blocks."""
        if rung == "CoC":
            return schemes.coc(self.blocks, self.co5, self.co6, self.co7, self.tau)
        if rung == "RC":
            return schemes.row(self.blocks, self.co1, self.co3, self.tau)
        if rung == "ClC":
            return schemes.column(self.blocks, self.co2, self.co4, self.tau)
        return schemes.full(self.blocks, self.co1, self.co2, self.co5, self.co6, self.co7, self.tau)

    def confirmed(self, rung: str, blocks: Tensor) -> Tensor:
        """(V,): whether the corrected ``blocks`` agree with the sums that ``rung`` did not use."""
        fine = ~off(self.co5 - blocks.sum((0, 1)), 2 * self.tau.t5)
        if rung in ("CoC", "ClC"):
            fine &= ~off(self.seen_co1 - blocks.sum(0), self.tau.t1 + self.tau.t5).any(0)
        if rung in ("CoC", "RC"):
            fine &= ~off(self.co2 - blocks.sum(1), self.tau.t2 + self.tau.t5).any(0)
        return fine


def _correct(case: _Case, allowed: tuple[str, ...], trail: list[str]) -> None:
    """Run the rungs on ``case`` and write what they corrected."""
    open_ = torch.ones(len(case.positions), dtype=torch.bool)
    changed = torch.zeros_like(case.blocks, dtype=torch.bool)
    for rung in ("CoC", "RC", "ClC", "FC"):
        if rung not in allowed or not open_.any():
            continue
        if rung not in trail:
            trail.append(rung)
        found = case.run(rung)
        if rung == "FC":
            discarded = open_ & (found.state == DAMAGED)
            if discarded.any():
                case.call.discard(case.positions[discarded])
                if "checksums discarded" not in trail:
                    trail.append("checksums discarded")
                open_ &= ~discarded
        fixed = open_ & (found.state == LOCATED) & case.confirmed(rung, found.blocks)
        case.blocks = torch.where(fixed, found.blocks, case.blocks)
        changed |= found.changed & fixed
        open_ &= ~fixed
    case.call.write(case.positions, case.blocks, changed)


def _scheme(trail: list[str]) -> str:
    """The rung that solved it: the last one, whatever was tidied up after it."""
    rungs = [rung for rung in trail if rung != "weights reloaded"]
    return (rungs or trail)[-1]


def _action(trail: list[str]) -> Action:
    return "recomputed" if _scheme(trail) in ("recomputed", "input restored") else "corrected"
