"""Drawing faults: where they may strike, which of these they do, and what must strike beside them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Generator, Tensor, nn

from holdfast.core import seeding
from holdfast.core.errors import UsageError
from holdfast.core.protocols import CHECKSUM_SITES, EVERY_CALL, Site
from holdfast.stress.bits import Bits, select_bits, width
from holdfast.stress.fault import BitFlip, Fault, Pattern
from holdfast.stress.pattern import unravel
from holdfast.stress.sites import Place, places


def sample_fault(
    place: Place, bits: Bits, generator: Generator, *, bit: int | None = None, persistent: bool = False
) -> Fault:
    """Draw a flip uniformly over the elements of ``place`` and, unless ``bit`` is given, over ``bits``.

    The index stays open where the shape is not known yet.
    """
    if place.elements == 0:
        raise UsageError(f"{place.site} of {place.layer!r}", expected="elements", got="none")
    flat = int(torch.randint(place.elements or 1, (), generator=generator))
    chosen = select_bits(bits, place.dtype)
    drawn = chosen[int(torch.randint(len(chosen), (), generator=generator))]
    index = None if place.shape is None else unravel(flat, place.shape)
    return BitFlip(place.layer, place.site, index, drawn if bit is None else bit, persistent)


def sample_faults(
    model: nn.Module,
    x: Tensor,
    generator: Generator,
    *,
    n: int = 1,
    layers: Sequence[str] | None = None,
    sites: Sequence[Site] = ("output",),
    bits: Bits = "all",
) -> list[Fault]:
    """Draw ``n`` bit flips: a layer and site uniformly, then an element and a bit of it uniformly.

    ``x`` (N, ...) is an example input, which fixes the shapes. ``layers`` None: every layer with a weight
    matrix or kernel that ``model(x)`` calls. Raises UsageError for a layer that is none of these.
    """
    found = [place for site in sites for place in eligible(model, x, site, layers)]
    drawn = (found[int(torch.randint(len(found), (), generator=generator))] for _ in range(n))
    return [sample_fault(place, bits, generator) for place in drawn]


def eligible(model: nn.Module, x: Tensor, site: Site, layers: Sequence[str] | None) -> list[Place]:
    """The places where faults at ``site`` can strike, in the order of ``layers`` or of the model."""
    found = {place.layer: place for place in places(model, x) if place.site == site}
    if not found:
        remedy = "checksums are in protected models" if site in CHECKSUM_SITES else None
        raise UsageError("faults", expected=f"a layer with a weight and a {site}", got="none", remedy=remedy)
    for name in layers or ():
        if name not in found:
            raise UsageError("unknown layer", expected=f"one of {', '.join(found)}", got=repr(name))
    return [found[name] for name in (found if layers is None else layers)]


def turn_of(number: int, choices: int, seed: int, what: str) -> int:
    """Item ``number`` of an endless sequence that runs through all choices before any repeats."""
    rounds, position = divmod(number, choices)
    return int(seeding.generator(seed, what, rounds).permutation(choices)[position])


def triggers(faults: Sequence[Fault], model: nn.Module, x: Tensor, generator: Generator) -> list[Fault]:
    """Output faults that make a protected model compute the checksums that ``faults`` are to damage.

    One a fault in a checksum that is not in use at every call: the top exponent bit of an element in the same
    layer; of a row for Co3 and of a column for Co4, which only RC and ClC look at.
    """
    found = []
    for fault in faults:
        if fault.site in CHECKSUM_SITES and fault.site not in EVERY_CALL:
            (place,) = eligible(model, x, "output", [fault.layer])
            flip = sample_fault(place, (width(place.dtype) - 2,), generator)
            patterns: dict[str, Pattern] = {"co3": "row", "co4": "column"}
            found.append(replace(flip, pattern=patterns.get(fault.site, "element")))
    return found
