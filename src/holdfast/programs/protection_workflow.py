"""The whole multischeme workflow against the same faults: the protected layer itself, recompute disabled."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Generator, Tensor

from holdfast.core.errors import FaultError
from holdfast.programs.protection_faults import FAULTS, Trials, Value, spoil, spoil_memory
from holdfast.programs.protection_stand import Stand

RUNGS = ("CoC", "RC", "ClC", "FC")
"""The ladder without its last rung."""


@dataclass
class Strike:
    """One fault that waits for the layer's next call.

    ``output`` changes the layer's output in place, ``input`` its input after Cd1 was taken; ``weight``: flat
    index and value; ``checksums`` change a checksum in place, by the name under which the layer offers it.
    """

    output: Callable[[Tensor], None] | None = None
    input: Callable[[Tensor], None] | None = None
    weight: tuple[int, float] | None = None
    checksums: dict[str, Callable[[Tensor], None]] | None = None


def judge(
    name: str, stand: Stand, value: Value, generator: Generator, *, recompute: bool = False
) -> Counter[str]:
    """The workflow's counts over all strikes of fault ``name``, as ``protection_schemes.judge`` gives them.

    Counted too: ``solved by RUNG``, the rung that made the output right.
    """
    clean = stand.blocks
    tally: Counter[str] = Counter()
    checksum_only = name.startswith(("C", "none"))
    for strike in _strikes(name, stand, value, generator):
        stand.protected.clear_events()
        with _struck(stand, strike, recompute):
            bare = stand.output(stand.x) if strike.weight else None
            try:
                out: Tensor | None = stand.wrapper(stand.x.clone())
            except FaultError:
                out = None
        if bare is not None and _right(stand.blocks_of(bare), clean, stand.tolerance):
            continue  # masked: the weight is multiplied with nothing
        events = stand.protected.events
        right = out is not None and _right(stand.blocks_of(out), clean, stand.tolerance)
        tally["trials"] += 1
        tally["detected"] += bool(events)
        tally["located"] += bool(events) and right and not checksum_only
        tally["corrected"] += bool(events) and right and not checksum_only
        tally["discarded"] += checksum_only and bool(events) and right
        tally["misjudged"] += out is not None and not right
        tally.update({f"solved by {event.scheme}": 1 for event in events if event.corrected and right})
    return tally


def _right(blocks: Tensor, clean: Tensor, tolerance: float) -> bool:
    return bool(((blocks - clean).abs() <= tolerance).all())


@contextmanager
def _struck(stand: Stand, strike: Strike, recompute: bool) -> Iterator[None]:
    """The protected layer of ``stand`` with ``strike`` in it, and everything as it was afterwards."""
    guard = stand.protected.guard
    checksums = [*_buffers(stand)]
    kept = [(tensor, tensor.clone()) for tensor in checksums]
    weight = stand.weight.clone()
    handles: list[Any] = []

    def tap(layer: str, site: str, tensor: Tensor) -> None:
        if strike.checksums and site in strike.checksums:
            strike.checksums[site](tensor)

    def before(layer: Any, args: tuple[Tensor, ...]) -> None:
        if strike.input is not None:
            strike.input(args[0])

    def after(layer: Any, args: Any, output: Tensor) -> None:
        if strike.output is not None:
            strike.output(output)

    allowed, guard.rungs, guard.tap = guard.rungs, (*RUNGS, *("recompute",) * recompute), tap
    site = stand.wrapper.fault_site
    handles = [site.register_forward_pre_hook(before), site.register_forward_hook(after)]
    if strike.weight is not None:
        stand.weight.view(-1)[strike.weight[0]] = strike.weight[1]
    try:
        with torch.no_grad():
            yield
    finally:
        for handle in handles:
            handle.remove()
        guard.rungs, guard.tap = allowed, None
        stand.weight.copy_(weight)
        for tensor, sound in kept:
            tensor.copy_(sound)


def _buffers(stand: Stand) -> Iterator[Tensor]:
    """The checksums that live as long as the layer."""
    yield from (stand.product.cw1, stand.product.cw2)
    yield from (stand.wrapper.expected.weights(last) for last in (False, True))


def _strikes(name: str, stand: Stand, value: Value, generator: Generator) -> Iterator[Strike]:
    if name == "D":
        for index in range(stand.x.numel()):
            yield Strike(input=_changed(index, value, generator, spoil_memory))
    elif name == "W":
        for index, old in enumerate(stand.weight.double().flatten()):
            yield Strike(weight=(index, float(spoil_memory(old, value, generator))))
    elif name in ("Cd1", "Cd2", "Cw1", "Cw2"):
        for index in range(getattr(stand.checksums, name.lower()).numel()):
            yield Strike(checksums={name.lower(): _changed(index, value, generator, spoil_checksum)})
    elif name.startswith("Co") and len(name) == 3:
        rows = stand.co[int(name[2]) - 1]
        for index in range(rows.numel()):
            yield Strike(checksums={name.lower(): _changed(index, value, generator, spoil)})
    else:
        yield from _output_strikes(stand, FAULTS[name](stand, value, generator), name)


def _output_strikes(stand: Stand, trials: Trials, name: str) -> Iterator[Strike]:
    for trial in range(int(trials.trial.max()) + 1):
        (chosen,) = (trials.trial == trial).nonzero(as_tuple=True)
        strike = Strike(output=_written(stand, trials.blocks[:, :, chosen], trials.at[chosen]))
        if name == "row, Co2":
            strike.checksums = {"co2": _replaced(trials.co.s2[:, chosen])}
        if name == "column, Co1":
            strike.checksums = {"co1": _replaced(trials.co.s1[:, chosen])}
        yield strike


def _written(stand: Stand, blocks: Tensor, at: Tensor) -> Callable[[Tensor], None]:
    bias = stand.wrapper.bias
    values = blocks if bias is None else blocks + bias.detach().double()[:, None]

    def write(out: Tensor) -> None:
        canonical = stand.wrapper.canonical(out)
        spoiled = (blocks - stand.blocks[:, :, at]).ne(0)
        n, m, v = spoiled.nonzero(as_tuple=True)
        where = torch.unravel_index(at[v], canonical.shape[2:]) if canonical.dim() > 2 else ()
        canonical[(n, m, *where)] = values[n, m, v].to(out.dtype)

    return write


def _replaced(values: Tensor) -> Callable[[Tensor], None]:
    def replace(tensor: Tensor) -> None:
        if tensor.shape == values.shape:
            tensor.copy_(values)

    return replace


def spoil_checksum(old: Tensor, value: Value, generator: Generator) -> Tensor:
    """A damaged checksum of an operand: off by far more than any threshold."""
    return spoil(old, value, generator, 100.0)


def _changed(
    index: int, value: Value, generator: Generator, how: Callable[[Tensor, Value, Generator], Tensor]
) -> Callable[[Tensor], None]:
    def change(tensor: Tensor) -> None:
        if index < tensor.numel():
            place = torch.unravel_index(torch.tensor(index), tensor.shape)
            tensor[place] = how(tensor[place].double(), value, generator).to(tensor.dtype)

    return change
