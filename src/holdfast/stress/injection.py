"""Injection: faults strike while a block runs, and every trace of them is gone afterwards."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from holdfast.core import seeding
from holdfast.core.errors import UsageError
from holdfast.stress.bitflip import BitFlip
from holdfast.stress.bits import check_bit, check_index, flip_element, read_element, width, write_element
from holdfast.stress.sites import find_layer, first_tensor, weight_storage


class Injection:
    """What became of the faults of one ``inject`` block.

    ``faults`` are the faults as they struck, drawn indices and bits filled in: injecting them again repeats
    the run. ``fired`` says for each whether it struck.
    """

    def __init__(self, faults: Sequence[BitFlip]) -> None:
        self.faults = list(faults)
        self.fired = [False] * len(faults)


@contextmanager
def inject(
    model: nn.Module, faults: Sequence[BitFlip], *, seed: int = 0, must_fire: bool = True
) -> Iterator[Injection]:
    """Inject ``faults`` into ``model`` while the block runs; afterwards the model is bit for bit as before.

    Faults in an output strike after the original layer and before whatever checks it; faults in an input
    strike a copy, so the caller's tensor and other readers of it stay clean; faults in a weight strike the
    stored number, which gets its former bits back even after an exception. What a fault leaves open (index,
    bit) is drawn from ``seed``. The model may be plain, protected or anybody's. Not thread-safe: one model is
    injected into by one thread at a time.

    Raises UsageError for an unknown layer (the layers are listed), for an index or a bit out of range, and,
    at the end of a block that did not fail itself, for a fault that never struck because its layer was not
    called; ``must_fire=False`` leaves that to ``Injection.fired``.
    """
    injection = Injection(faults)
    with ExitStack() as undo:
        for number, fault in enumerate(faults):
            layer = find_layer(model, fault.layer)
            if fault.site == "weight":
                _damage_weight(layer, number, injection, seed, undo)
            elif fault.site == "output":
                hook = _output_hook(number, injection, seed)
                undo.callback(layer.register_forward_hook(hook).remove)
            else:
                before = _input_hook(number, injection, seed)
                undo.callback(layer.register_forward_pre_hook(before, with_kwargs=True).remove)
        yield injection
    missed = [fault for fault, fired in zip(injection.faults, injection.fired, strict=True) if not fired]
    if must_fire and missed:
        raise UsageError(
            f"{len(missed)} fault(s) never struck",
            expected="every layer to be called inside the block",
            got=f"no call of {', '.join(sorted({fault.layer for fault in missed}))}",
            remedy="call the model inside the block, or say must_fire=False",
        )


def _strike(tensor: Tensor, number: int, injection: Injection, seed: int) -> tuple[tuple[int, ...], int]:
    """Flip the bit in place and note it; return the element's index and its former bits.

    Index and bit are drawn here where the fault leaves them open, now that the shape is known.
    """
    fault = injection.faults[number]
    index, bit = fault.index, fault.bit
    if index is None:
        if tensor.numel() == 0:
            raise UsageError(f"{fault.site} of {fault.layer!r}", expected="elements", got="none")
        index = unravel(seeding.derive(seed, number, "index") % tensor.numel(), tensor.shape)
    if bit is None:
        bit = seeding.derive(seed, number, "bit") % width(tensor.dtype)
    check_index(tensor.shape, index, f"{fault.site} of {fault.layer!r}")
    check_bit(tensor.dtype, bit)
    former = read_element(tensor, index)
    flip_element(tensor, index, bit)
    injection.faults[number] = replace(fault, index=index, bit=bit)
    injection.fired[number] = True
    return index, former


def unravel(flat: int, shape: Sequence[int]) -> tuple[int, ...]:
    """The index of element ``flat`` of a tensor of ``shape``, last dimension running fastest."""
    index = []
    for size in reversed(shape):
        flat, position = divmod(flat, size)
        index.append(position)
    return tuple(reversed(index))


def _damage_weight(layer: nn.Module, number: int, injection: Injection, seed: int, undo: ExitStack) -> None:
    weight = weight_storage(layer, injection.faults[number].layer)
    index, former = _strike(weight, number, injection, seed)
    # The former bits are written back instead of flipped again: a repair may have happened in between.
    undo.callback(write_element, weight, index, former)


def _output_hook(number: int, injection: Injection, seed: int) -> Callable[[nn.Module, Any, Any], Any]:
    def hook(layer: nn.Module, args: Any, output: Any) -> Any:
        return _damaged(output, number, injection, seed)

    return hook


def _input_hook(number: int, injection: Injection, seed: int) -> Callable[[nn.Module, Any, Any], Any]:
    def hook(layer: nn.Module, args: Any, kwargs: Any) -> Any:
        return _damaged((args, kwargs), number, injection, seed)

    return hook


def _damaged(values: Any, number: int, injection: Injection, seed: int) -> Any:
    """``values`` with its first tensor replaced by a damaged copy; None (unchanged) once the fault is spent.

    A copy, because the tensor may be seen by others: a layer's input by its caller, and the output of an
    identity is its input.
    """
    fault = injection.faults[number]
    if injection.fired[number] and not fault.persistent:
        return None
    tensor = first_tensor(values)
    if tensor is None:
        raise UsageError(f"{fault.site} of {fault.layer!r}", expected="a tensor", got=type(values).__name__)
    copy = tensor.clone(memory_format=torch.preserve_format)
    _strike(copy, number, injection, seed)
    return _with_tensor(values, tensor, copy)


def _with_tensor(values: Any, old: Tensor, new: Tensor) -> Any:
    if values is old:
        return new
    if isinstance(values, Mapping):
        return type(values)({key: _with_tensor(value, old, new) for key, value in values.items()})  # type: ignore[call-arg]
    if isinstance(values, tuple) and hasattr(values, "_fields"):
        return type(values)(*(_with_tensor(value, old, new) for value in values))
    if isinstance(values, list | tuple):
        return type(values)(_with_tensor(value, old, new) for value in values)
    return values
