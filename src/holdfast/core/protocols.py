"""What rooms know of each other without importing each other: fault sites, protection, stressors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, runtime_checkable

from holdfast.core.result import Label

Site = Literal["weight", "input", "output"]
SITES: tuple[Site, ...] = ("weight", "input", "output")


@runtime_checkable
class FaultSite(Protocol):
    """A module that stands in front of another one and says where faults are to be injected.

    Injectors put their hooks on ``fault_site`` (the original layer), so that what they damage is what the
    wrapper checks.
    """

    fault_site: Any


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

    ``labels`` describe this trial's stress (layer, bit, sigma in GeV…) and go into its record.
    """

    model: Any
    x: Any
    y: Any
    labels: Mapping[str, Label] = field(default_factory=dict)


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
    while isinstance(module, FaultSite):
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
