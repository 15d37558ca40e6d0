"""Finding layers and the tensors in which faults strike, in plain, protected and foreign models alike."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from holdfast.core.errors import UsageError
from holdfast.core.protocols import (
    CHECKSUM_SITES,
    EVERY_CALL,
    SITES,
    Checksummed,
    Site,
    Tapped,
    effective_weight,
    fault_site,
    named_layers,
)
from holdfast.stress.accumulator import accumulates, accumulator_dtype


@dataclass(frozen=True)
class Place:
    """Shape and number type of one site of one layer; no shape for a checksum that a fault has to call up."""

    layer: str
    site: Site
    shape: torch.Size | None
    dtype: torch.dtype

    @property
    def elements(self) -> int | None:
        """Number of elements that may be hit; None where it is unknown."""
        return None if self.shape is None else self.shape.numel()


def find_layer(model: nn.Module, name: str) -> nn.Module:
    """The module called ``name`` in the unprotected model, wrappers looked through.

    Raises UsageError that lists the leaf layers if there is none.
    """
    module: nn.Module = fault_site(model)
    for part in filter(None, name.split(".")):
        child = dict(module.named_children()).get(part)
        if child is None:
            known = ", ".join(layer for layer, _ in named_layers(model))
            raise UsageError("unknown layer", expected=f"one of {known}", got=repr(name))
        module = fault_site(child)
    return module


def weight_storage(layer: nn.Module, name: str) -> Tensor:
    """The tensor in memory that ``layer`` multiplies with.

    Raises UsageError if it has none, or computes it anew at every call, so that a flip would be lost.
    """
    if getattr(layer, "weight", None) is None and not hasattr(layer, "effective_weight"):
        raise UsageError(f"layer {name!r}", expected="a weight", got=type(layer).__name__)
    weight = effective_weight(layer)
    owned = {tensor.untyped_storage().data_ptr() for tensor in (*layer.parameters(), *layer.buffers())}
    if not isinstance(weight, Tensor) or weight.untyped_storage().data_ptr() not in owned:
        raise UsageError(
            f"weight of layer {name!r}",
            expected="a stored tensor",
            got="one that is computed at every call",
            remedy="inject into its input or output",
        )
    return weight


def tapped_guard(model: nn.Module) -> Tapped | None:
    """Who hands out the checksums of ``model``; None if it has none."""
    guard = model.guard if isinstance(model, Checksummed) else None
    return guard if isinstance(guard, Tapped) else None


def first_tensor(values: Any) -> Tensor | None:
    """The first tensor of a layer's arguments or result (a tensor, or a nested sequence or mapping)."""
    if isinstance(values, Tensor):
        return values
    if isinstance(values, Mapping):
        values = tuple(values.values())
    if isinstance(values, Sequence) and not isinstance(values, str):
        for value in values:
            found = first_tensor(value)
            if found is not None:
                return found
    return None


def replaced(values: Any, old: Tensor, new: Tensor) -> Any:
    """``values``, a nested structure, with ``new`` in place of the tensor ``old``."""
    if values is old:
        return new
    if isinstance(values, Mapping):
        return type(values)({key: replaced(value, old, new) for key, value in values.items()})  # type: ignore[call-arg]
    if isinstance(values, tuple) and hasattr(values, "_fields"):
        return type(values)(*(replaced(value, old, new) for value in values))
    if isinstance(values, list | tuple):
        return type(values)(replaced(value, old, new) for value in values)
    return values


_places: WeakKeyDictionary[nn.Module, dict[object, tuple[Place, ...]]] = WeakKeyDictionary()


def places(model: nn.Module, x: Tensor) -> tuple[Place, ...]:
    """Every site of every layer with a stored weight that ``model(x)`` calls, in the model's order.

    ``x`` (N, ...) is run through the model once for each new shape; the answer is kept as long as the model.
    """
    known = _places.setdefault(model, {})
    key = (x.shape, x.dtype)
    if key not in known:
        known[key] = tuple(_observe(model, x))
    return known[key]


def _observe(model: nn.Module, x: Tensor) -> Iterator[Place]:
    seen: dict[tuple[str, Site], Place] = {}
    weighted = [(name, layer) for name, layer in named_layers(model) if _has_weight(layer, name)]

    def note(name: str, site: Site, values: Any) -> None:
        tensor = first_tensor(values)
        if tensor is not None and tensor.is_floating_point():
            seen.setdefault((name, site), Place(name, site, tensor.shape, tensor.dtype))

    def observer(name: str) -> Any:
        def hook(layer: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
            note(name, "weight", weight_storage(layer, name))
            note(name, "input", (args, kwargs))
            note(name, "output", output)
            result = first_tensor(output)
            if accumulates(layer) and result is not None and result.is_floating_point():
                place = Place(name, "accumulator", result.shape, accumulator_dtype(result.dtype))
                seen.setdefault((name, "accumulator"), place)

        return hook

    def tap(name: str, site: str, values: Any) -> None:
        for known in CHECKSUM_SITES:
            if known == site:
                note(name, known, values)
            elif known not in EVERY_CALL:
                seen.setdefault((name, known), Place(name, known, None, values.dtype))

    handles = [layer.register_forward_hook(observer(n), with_kwargs=True) for n, layer in weighted]
    guard = tapped_guard(model)
    former = guard.tap if guard is not None else None
    try:
        if guard is not None:
            guard.tap = tap
        with evaluating(model), torch.no_grad():
            model(x)
    finally:
        if guard is not None:
            guard.tap = former
        for handle in handles:
            handle.remove()
    for name, _ in weighted:
        yield from (seen[name, site] for site in SITES if (name, site) in seen)


def _has_weight(layer: nn.Module, name: str) -> bool:
    try:
        # A vector is the scale of a normalisation: no multiply-accumulate layer has one.
        return weight_storage(layer, name).dim() >= 2
    except UsageError:
        return False


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Put every module into eval mode and give each its own training flag back at the end."""
    training = [module for module in model.modules() if module.training]
    if training:
        model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True
