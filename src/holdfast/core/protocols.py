"""What rooms know of each other without importing each other: fault sites, protection, stressors."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, runtime_checkable

from holdfast.core.result import Label

TensorSite = Literal["weight", "input", "output", "accumulator"]
ChecksumSite = Literal["cd1", "cd2", "cw1", "cw2", "co1", "co2", "co3", "co4", "co5", "co6", "co7"]
Site = Literal[TensorSite, ChecksumSite]
TENSOR_SITES: tuple[TensorSite, ...] = ("weight", "input", "output", "accumulator")
"""What every layer has: its stored weight, what it reads, what it returns, and the sums on the way there."""
CHECKSUM_SITES: tuple[ChecksumSite, ...] = (
    "cd1", "cd2", "cw1", "cw2", "co1", "co2", "co3", "co4", "co5", "co6", "co7"
)  # fmt: skip
"""The checksums of FT-CNN, in its names (arXiv 2003.12203)."""
EVERY_CALL: tuple[ChecksumSite, ...] = ("cd1", "cw1", "co5")
"""Checksums that a layer uses at every call; the others are computed when a fault has been found."""
STORED: tuple[Site, ...] = ("weight", "cw1", "cw2")
"""What stays in memory between calls, and so stays damaged."""
SITES: tuple[Site, ...] = (*TENSOR_SITES, *CHECKSUM_SITES)

Tap = Callable[[str, str, Any], None]
"""Called with (layer, checksum site, tensor) for a checksum about to be used; may change it in place."""


@runtime_checkable
class FaultSite(Protocol):
    """A module that stands in front of another one and says where faults are to be injected.

    Injectors put their hooks on ``fault_site`` (the original layer), so that what they damage is what the
    wrapper checks.
    """

    fault_site: Any


@runtime_checkable
class Tapped(Protocol):
    """Hands every checksum that is used to ``tap``, if there is one: the way in for fault campaigns.

    The tensor is the live one (float64): what the tap writes into it is computed with. For Cw1 and Cw2 it is
    the stored memory.
    """

    tap: Tap | None


@runtime_checkable
class Checksummed(Protocol):
    """A model whose layers are checked by checksums, which ``guard`` hands to whoever taps it."""

    guard: Tapped


class WeightStore(Protocol):
    """Weights that compute in place of a layer's parameter: a copy in a layout that only its owner knows."""

    def read(self) -> Any:
        """A copy (M, C/groups, *kernel) of the weights that compute."""

    def write(self, weight: Any) -> None:
        """Compute with ``weight`` from now on, bit for bit, as if memory had changed: nobody is told."""

    def restore(self) -> None:
        """Undo all writes."""


@runtime_checkable
class Repacked(Protocol):
    """A model some of whose layers compute with copies of their weights."""

    def computing_weights(self, layer: str) -> WeightStore | None:
        """What computes in place of the parameter of ``layer``; None if the parameter itself does."""


@runtime_checkable
class Protected(Protocol):
    """A model that records the soft errors it meets."""

    @property
    def events(self) -> list[Any]:
        """One record an event since the last ``clear_events``."""

    def clear_events(self) -> None:
        """Forget the events so far."""


@dataclass(frozen=True)
class Stressed:
    """A stressed run: call ``model(x)`` while the context that yielded this is open.

    ``labels`` describe this trial's stress (layer, bit, sigma in GeV…) and go into its record. ``injection``:
    the ``stress.Injection`` under way, for stressors that inject faults.
    """

    model: Any
    x: Any
    y: Any
    labels: Mapping[str, Label] = field(default_factory=dict)
    injection: Any = None


class Stressor(Protocol):
    """Anything that harms a model or its input in a reproducible way.

    ``apply(model, x, y, generator)`` yields a Stressed; ``x`` is a batch (N, ...), ``y`` its labels (N,),
    ``generator`` a torch.Generator that every draw comes from. Leaving the context undoes all changes.
    """

    @property
    def name(self) -> str:
        """The name it is registered under."""

    def apply(self, model: Any, x: Any, y: Any, generator: Any) -> AbstractContextManager[Stressed]:
        """Yield the stressed run."""


def fault_site(module: Any) -> Any:
    """The module that faults go into: the wrapped original where there is one, else ``module`` itself."""
    # A check against FaultSite takes ten times as long, and campaigns ask several times a trial.
    while hasattr(module, "fault_site"):
        module = module.fault_site
    return module


def named_layers(model: Any) -> Iterator[tuple[str, Any]]:
    """Yield (name, layer) of the leaf layers of ``model`` under their original names.

    Wrappers are looked through: a protected model yields the names and the layers of the model it protects.
    """
    yield from _walk(fault_site(model), "")


def _walk(module: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    children = list(module.named_children())
    if not children:
        yield prefix, module
    for name, child in children:
        yield from _walk(fault_site(child), f"{prefix}.{name}" if prefix else name)


def effective_weight(layer: Any) -> Any:
    """The weight that ``layer`` multiplies with: its masked or unpacked form where it defines one."""
    method = getattr(layer, "effective_weight", None)
    return method() if callable(method) else layer.weight
