"""Faults as stressors: random bit flips, and any other effect and pattern at any site."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from typing import Any, ClassVar, NamedTuple, get_args

import torch
from torch import Generator, Tensor, nn

from holdfast.core.errors import UsageError
from holdfast.core.protocols import SITES, Site, Stressed
from holdfast.core.result import Label
from holdfast.stress.bits import Bits, bit_class, select_bits, width
from holdfast.stress.fault import Effect, Fault, Pattern, Storage, check_word
from holdfast.stress.injection import inject
from holdfast.stress.registry import stressors
from holdfast.stress.sampling import eligible, sample_fault, sample_faults, triggers, turn_of
from holdfast.stress.sites import Place, places

_SEEDS = 2**62


class Stratum(NamedTuple):
    """One layer, site and bit (None: an effect other than a flip): faults within it are alike."""

    place: Place
    bit: int | None


class Faulty(ABC):
    """What all stressors that inject faults have in common."""

    judged_by: ClassVar[str] = "outcome"

    @abstractmethod
    def draw(self, model: nn.Module, x: Tensor, generator: Generator) -> list[Fault]:
        """The faults of one trial."""

    def beside(
        self, faults: Sequence[Fault], model: nn.Module, x: Tensor, generator: Generator
    ) -> list[Fault]:
        """What else has to strike so that ``faults`` can; see ``triggers``."""
        return triggers(faults, model, x, generator)

    @contextmanager
    def apply(self, model: nn.Module, x: Tensor, y: Tensor, generator: Generator) -> Iterator[Stressed]:
        """Yield the damaged model; see ``inject``."""
        faults = self.draw(model, x, generator)
        beside = self.beside(faults, model, x, generator)
        labels = _labels(faults[0], model, x) if len(faults) == 1 else {}
        seed = int(torch.randint(_SEEDS, (), generator=generator))
        # A checksum that no rung asked for stays as it was: the trial tells what came of the trigger.
        with inject(model, [*faults, *beside], seed=seed, must_fire=not beside) as injection:
            yield Stressed(model, x, y, labels, injection)


def _labels(fault: Fault, model: nn.Module, x: Tensor) -> dict[str, Label]:
    place = next(p for p in places(model, x) if (p.layer, p.site) == (fault.layer, fault.site))
    labels: dict[str, Label] = {"layer": fault.layer, "site": fault.site}
    if place.elements is not None:
        labels["elements"] = place.elements
    if fault.index is not None:
        labels["index"] = ",".join(map(str, fault.index))
    if fault.bit is not None:
        labels |= {"bit": fault.bit, "bit_class": bit_class(place.dtype, fault.bit)}
    return labels


def _frozen(stressor: Any, *names: str) -> None:
    """Turn lists, as JSON has them, into tuples."""
    for name in names:
        value = getattr(stressor, name)
        if value is not None and not isinstance(value, str):
            object.__setattr__(stressor, name, tuple(value))


@stressors.register("bit_flips")
@dataclass(frozen=True)
class BitFlips(Faulty):
    """``n`` random bit flips a trial at one ``site``, fp32 and other floats.

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

    def __post_init__(self) -> None:
        check_word("fault site", self.site, SITES)
        if self.n < 1:
            raise UsageError("flips a trial", expected="at least 1", got=self.n)
        _frozen(self, "bits", "layers")
        # A wrong word is told now; a bit that is too high when the dtype is known.
        select_bits(self.bits, torch.float64)

    @property
    def labels(self) -> dict[str, Label]:
        """What all trials have in common."""
        bits = self.bits if isinstance(self.bits, str) else ",".join(map(str, self.bits))
        return {"site": self.site, "bits": bits, "flips": self.n}

    def at_trial(self, index: int, seed: int) -> BitFlips:
        """This stressor for trial ``index`` of a campaign, layer and bit chosen by turns."""
        return replace(self, turn=(seed, index))

    def draw(self, model: nn.Module, x: Tensor, generator: Generator) -> list[Fault]:
        """The faults of one trial."""
        found = eligible(model, x, self.site, self.layers)
        if self.turn is None:
            faults = sample_faults(
                model, x, generator, n=self.n, layers=self.layers, sites=(self.site,), bits=self.bits
            )
            return [replace(fault, persistent=self.persistent) for fault in faults]
        seed, trial = self.turn
        faults = []
        for number in range(trial * self.n, (trial + 1) * self.n):
            place = found[turn_of(number, len(found), seed, "layers")]
            bits = select_bits(self.bits, place.dtype)
            bit = bits[turn_of(number, len(bits), seed, "bits")]
            faults.append(sample_fault(place, self.bits, generator, bit=bit, persistent=self.persistent))
        return faults


@stressors.register("faults")
@dataclass(frozen=True)
class Faults(Faulty):
    """``n`` random faults a trial at any ``sites``, with any effect and pattern (see ``Fault``).

    ``bits`` and ``layers`` as in ``BitFlips``; with an effect other than ``flip`` there are no bits. In a
    campaign the strata (layer, site, bit) take turns: each meets every trial count within one, in an order
    drawn from the seed. Totals are means over strata with equal weights; ``pooled_`` metrics weight each
    stratum by its exposure, the number of elements that it may hit. ``by_stratum`` adds the rates of every
    single stratum. Raises UsageError for options that name nothing.
    """

    sites: tuple[Site, ...] = ("output",)
    bits: Bits = "all"
    layers: tuple[str, ...] | None = None
    n: int = 1
    persistent: bool = False
    effect: Effect = "flip"
    burst: int = 1
    pattern: Pattern = "element"
    extent: int = 1
    storage: Storage = "both"
    resident: bool = False
    by_stratum: bool = False
    name: str = "faults"
    turn: tuple[int, int] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "sites", (self.sites,) if isinstance(self.sites, str) else tuple(self.sites))
        if not self.sites or self.n < 1:
            raise UsageError("faults", expected="at least one site and one fault", got=(self.sites, self.n))
        _frozen(self, "bits", "layers")
        select_bits(self.bits, torch.float64)
        check_word("effect", self.effect, get_args(Effect))
        for site in self.sites:
            self._plain("", site)  # raises for what a Fault does not take

    @property
    def labels(self) -> dict[str, Label]:
        """What all trials have in common, options that are not as by default included."""
        labels: dict[str, Label] = {"sites": ",".join(self.sites), "effect": self.effect, "faults": self.n}
        if self.effect == "flip":
            labels["bits"] = self.bits if isinstance(self.bits, str) else ",".join(map(str, self.bits))
        if len(self.sites) == 1:
            labels["site"] = self.sites[0]
        optional = ("burst", "pattern", "extent", "persistent", "storage", "resident")
        usual = {each.name: each.default for each in fields(self) if each.name in optional}
        labels |= {name: getattr(self, name) for name, value in usual.items() if getattr(self, name) != value}
        return labels

    @property
    def breakdowns(self) -> tuple[tuple[str, ...], ...]:
        """The labels by which records break the trials down."""
        several = (("site",),) if len(self.sites) > 1 else ()
        stratum = (("layer", "site", "bit") if self.effect == "flip" else ("layer", "site"),)
        return (("layer",), *several, ("bit",), ("bit_class",), *(stratum if self.by_stratum else ()))

    def at_trial(self, index: int, seed: int) -> Faults:
        """This stressor for trial ``index`` of a campaign, whose stratum it names."""
        return replace(self, turn=(seed, index))

    def strata(self, model: nn.Module, x: Tensor) -> list[Stratum]:
        """All strata, given an example input ``x`` (N, ...)."""
        found = [place for site in self.sites for place in eligible(model, x, site, self.layers)]
        if self.effect != "flip":
            return [Stratum(place, None) for place in found]
        return [Stratum(place, bit) for place in found for bit in self._bits(place.dtype)]

    def draw(self, model: nn.Module, x: Tensor, generator: Generator) -> list[Fault]:
        """The faults of one trial."""
        strata = self.strata(model, x)
        faults = []
        for number in range(self.n):
            if self.turn is None:
                chosen = int(torch.randint(len(strata), (), generator=generator))
            else:
                seed, trial = self.turn
                chosen = turn_of(trial * self.n + number, len(strata), seed, "strata")
            place, bit = strata[chosen]
            index = sample_fault(place, "all", generator).index
            fault = replace(self._plain(place.layer, place.site), index=index, bit=bit)
            if self.effect == "random":
                fault = replace(fault, seed=int(torch.randint(_SEEDS, (), generator=generator)))
            faults.append(fault)
        return faults

    def _bits(self, dtype: torch.dtype) -> list[int]:
        fitting = [bit for bit in select_bits(self.bits, dtype) if bit + self.burst <= width(dtype)]
        if not fitting:
            raise UsageError("burst", expected=f"one that fits {dtype} from bits {self.bits}", got=self.burst)
        return fitting

    def _plain(self, layer: str, site: Site) -> Fault:
        return Fault(
            layer,
            site,
            persistent=self.persistent,
            effect=self.effect,
            burst=self.burst,
            pattern=self.pattern,
            extent=self.extent,
            storage=self.storage,
            resident=self.resident,
        )
