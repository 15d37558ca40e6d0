"""Bit flips as a stressor: random faults in a model, balanced over layers and bits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import ClassVar

import torch
from torch import Generator, Tensor, nn

from holdfast.core import seeding
from holdfast.core.errors import UsageError
from holdfast.core.protocols import SITES, Site, Stressed
from holdfast.core.result import Label
from holdfast.stress.bitflip import BitFlip
from holdfast.stress.bits import Bits, bit_class, select_bits
from holdfast.stress.injection import inject, unravel
from holdfast.stress.registry import stressors
from holdfast.stress.sites import Place, places


def sample_fault(
    place: Place, bits: Bits, generator: Generator, *, bit: int | None = None, persistent: bool = False
) -> BitFlip:
    """Draw a fault uniformly over the elements of ``place`` and, unless ``bit`` is given, over ``bits``."""
    if place.shape.numel() == 0:
        raise UsageError(f"{place.site} of {place.layer!r}", expected="elements", got=tuple(place.shape))
    flat = int(torch.randint(place.shape.numel(), (), generator=generator))
    chosen = select_bits(bits, place.dtype)
    drawn = chosen[int(torch.randint(len(chosen), (), generator=generator))]
    return BitFlip(
        place.layer, place.site, unravel(flat, place.shape), drawn if bit is None else bit, persistent
    )


def sample_faults(
    model: nn.Module,
    x: Tensor,
    generator: Generator,
    *,
    n: int = 1,
    layers: Sequence[str] | None = None,
    sites: Sequence[Site] = ("output",),
    bits: Bits = "all",
) -> list[BitFlip]:
    """Draw ``n`` faults: a layer and site uniformly, then an element and a bit of it uniformly.

    ``x`` (N, ...) is an example input, which fixes the shapes. ``layers`` None: every layer with a weight
    matrix or kernel that ``model(x)`` calls. Raises UsageError for a layer that is none of these.
    """
    found = [place for site in sites for place in _eligible(model, x, site, layers)]
    drawn = (found[int(torch.randint(len(found), (), generator=generator))] for _ in range(n))
    return [sample_fault(place, bits, generator) for place in drawn]


def _eligible(model: nn.Module, x: Tensor, site: Site, layers: Sequence[str] | None) -> list[Place]:
    found = {place.layer: place for place in places(model, x) if place.site == site}
    if not found:
        raise UsageError("bit flips", expected=f"a layer with a weight and a {site}", got="none")
    for name in layers or ():
        if name not in found:
            raise UsageError("unknown layer", expected=f"one of {', '.join(found)}", got=repr(name))
    return [found[name] for name in (found if layers is None else layers)]


@stressors.register("bit_flips")
@dataclass(frozen=True)
class BitFlips:
    """``n`` random bit flips a trial at one ``site`` (weight, input or output), fp32 and other floats.

    ``bits``: "exponent", "mantissa", "sign", "all", or a list of numbers; ``layers`` None: every layer with a
    weight matrix or kernel. An element is drawn uniformly from its layer's tensor. In a campaign layers and
    bits take turns (each meets every trial count within one, in an order drawn from the seed), so rates are
    means over layers and bits with equal weights. Raises UsageError for options that name nothing.
    """

    site: Site = "output"
    bits: Bits = "exponent"
    layers: tuple[str, ...] | None = None
    n: int = 1
    persistent: bool = False
    name: str = "bit_flips"
    turn: tuple[int, int] | None = field(default=None, repr=False)
    """Campaign seed and trial number, set by ``at_trial``."""
    judged_by: ClassVar[str] = "outcome"

    def __post_init__(self) -> None:
        if self.site not in SITES:
            raise UsageError("fault site", expected=f"one of {', '.join(SITES)}", got=repr(self.site))
        if self.n < 1:
            raise UsageError("flips a trial", expected="at least 1", got=self.n)
        if not isinstance(self.bits, str):
            object.__setattr__(self, "bits", tuple(self.bits))
        if self.layers is not None:
            object.__setattr__(self, "layers", tuple(self.layers))
        select_bits(
            self.bits, torch.float64
        )  # a wrong word is told now; a bit too high when the dtype is known

    @property
    def labels(self) -> dict[str, Label]:
        """What all trials have in common."""
        bits = self.bits if isinstance(self.bits, str) else ",".join(map(str, self.bits))
        return {"site": self.site, "bits": bits, "flips": self.n}

    def at_trial(self, index: int, seed: int) -> BitFlips:
        """This stressor for trial ``index`` of a campaign, layer and bit chosen by turns."""
        return replace(self, turn=(seed, index))

    def draw(self, model: nn.Module, x: Tensor, generator: Generator) -> list[BitFlip]:
        """The faults of one trial."""
        found = _eligible(model, x, self.site, self.layers)
        if self.turn is None:
            return sample_faults(
                model, x, generator, n=self.n, layers=self.layers, sites=(self.site,), bits=self.bits
            )
        seed, trial = self.turn
        faults = []
        for number in range(trial * self.n, (trial + 1) * self.n):
            place = found[_turn(number, len(found), seed, "layers")]
            bits = select_bits(self.bits, place.dtype)
            bit = bits[_turn(number, len(bits), seed, "bits")]
            faults.append(sample_fault(place, self.bits, generator, bit=bit))
        return faults

    @contextmanager
    def apply(self, model: nn.Module, x: Tensor, y: Tensor, generator: Generator) -> Iterator[Stressed]:
        """Yield the damaged model; see ``inject``."""
        faults = [replace(fault, persistent=self.persistent) for fault in self.draw(model, x, generator)]
        labels = self._labels(faults[0], model, x) if self.n == 1 else {}
        with inject(model, faults):
            yield Stressed(model, x, y, labels)

    def _labels(self, fault: BitFlip, model: nn.Module, x: Tensor) -> dict[str, Label]:
        place = next(p for p in places(model, x) if (p.layer, p.site) == (fault.layer, fault.site))
        assert fault.bit is not None
        assert fault.index is not None
        return {
            "layer": fault.layer,
            "index": ",".join(map(str, fault.index)),
            "bit": fault.bit,
            "bit_class": bit_class(place.dtype, fault.bit),
        }


def _turn(number: int, choices: int, seed: int, what: str) -> int:
    """Item ``number`` of an endless sequence that runs through all choices before any repeats."""
    rounds, position = divmod(number, choices)
    return int(seeding.generator(seed, what, rounds).permutation(choices)[position])
