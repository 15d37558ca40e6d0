"""Injection: faults strike while a block runs, and every trace of them is gone afterwards."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from holdfast.core import seeding
from holdfast.core.errors import UsageError
from holdfast.core.protocols import (
    CHECKSUM_SITES,
    STORED,
    Repacked,
    WeightStore,
)
from holdfast.stress.bits import write_words
from holdfast.stress.fault import Fault
from holdfast.stress.sites import find_layer, first_tensor, replaced, tapped_guard, weight_storage
from holdfast.stress.strike import channel_dimension, strike, strike_accumulator


class Injection:
    """What became of the faults of one ``inject`` block.

    ``faults`` are the faults as they struck, everything drawn filled in: injecting them again repeats the
    run. ``fired`` says for each whether it struck.
    """

    def __init__(self, faults: Sequence[Fault], seed: int) -> None:
        self.faults = list(faults)
        self.fired = [False] * len(faults)
        self._seeds = [seeding.derive(seed, number) for number in range(len(faults))]

    def spent(self, number: int) -> bool:
        """Whether the fault has struck and will not strike again."""
        fault = self.faults[number]
        return self.fired[number] and (not fault.persistent or fault.site in STORED)

    def strike(self, number: int, tensor: Tensor, layer: nn.Module) -> tuple[Tensor, Tensor]:
        """Let the fault damage ``tensor`` in place; numbers and former words of the elements, to undo it."""
        fault = self.faults[number]
        channels = channel_dimension(layer, fault.site, tensor)
        self.faults[number], numbers, former = strike(tensor, fault, channels, self._seeds[number])
        self.fired[number] = True
        return numbers, former

    def strike_sum(self, number: int, layer: nn.Module, x: Tensor, output: Tensor) -> None:
        """Let the fault damage ``output`` in place by way of its accumulator."""
        fault = self.faults[number]
        channels = channel_dimension(layer, fault.site, output)
        self.faults[number] = strike_accumulator(layer, x, output, fault, channels, self._seeds[number])
        self.fired[number] = True


@contextmanager
def inject(
    model: nn.Module, faults: Sequence[Fault], *, seed: int = 0, must_fire: bool = True
) -> Iterator[Injection]:
    """Inject ``faults`` into ``model`` while the block runs; afterwards the model is bit for bit as before.

    Faults in an output or accumulator strike after the original layer and before whatever checks it; faults
    in an input strike a copy, so the caller's tensor and other readers of it stay clean, unless they are
    resident; faults in a weight strike the stored number (and the copy that computes, where there is one),
    which gets its former bits back even after an exception. Faults in a checksum strike when a protected
    model has computed or fetched it; those that are computed after a fault only (Cd2, Cw2, Co1 … Co4, Co6,
    Co7) need another fault beside them. What a fault leaves open is drawn from ``seed``. The model may be
    plain, protected or anybody's. Not thread-safe: one model is injected into by one thread at a time.

    Raises UsageError for an unknown layer (the layers are listed), for an index or a bit out of range, for a
    checksum of a model without, and, at the end of a block that did not fail itself, for a fault that never
    struck because its layer was not called; ``must_fire=False`` leaves that to ``Injection.fired``.
    """
    injection = Injection(faults, seed)
    with ExitStack() as undo:
        checksums = []
        for number, fault in enumerate(faults):
            layer = find_layer(model, fault.layer)
            if fault.site in CHECKSUM_SITES:
                checksums.append((number, layer))
            elif fault.site == "weight":
                _damage_weight(model, layer, number, injection, undo)
            elif fault.site == "input":
                before = _input_hook(number, injection, undo)
                undo.callback(layer.register_forward_pre_hook(before, with_kwargs=True).remove)
            else:
                hook = _output_hook(number, injection)
                # Before the hooks of others, which may be what protects the layer.
                handle = layer.register_forward_hook(hook, prepend=True, with_kwargs=True)
                undo.callback(handle.remove)
        if checksums:
            _tap(model, checksums, injection, undo)
        yield injection
    missed = [fault for fault, fired in zip(injection.faults, injection.fired, strict=True) if not fired]
    if must_fire and missed:
        raise UsageError(
            f"{len(missed)} fault(s) never struck",
            expected="every layer to be called, and every checksum to be used, inside the block",
            got=f"no call of {', '.join(sorted({fault.layer for fault in missed}))}",
            remedy="call the model inside the block, or say must_fire=False",
        )


def _damage_weight(
    model: nn.Module, layer: nn.Module, number: int, injection: Injection, undo: ExitStack
) -> None:
    fault = injection.faults[number]
    store = computing_store(model, fault.layer)
    if store is not None and fault.storage != "parameter":
        # Undone after the parameter, from which it may be made again.
        undo.callback(store.restore)
        weight = store.read()
        injection.strike(number, weight, layer)
        store.write(weight)
    if store is None or fault.storage != "computing":
        parameter = weight_storage(layer, fault.layer)
        numbers, former = injection.strike(number, parameter, layer)
        # The former bits are written back instead of flipped again: a repair may have happened in between.
        undo.callback(write_words, parameter, numbers, former)


def computing_store(model: nn.Module, layer: str) -> WeightStore | None:
    """What computes in place of the weight parameter of ``layer``, if anything does."""
    return model.computing_weights(layer) if isinstance(model, Repacked) else None


def _tap(
    model: nn.Module, faults: Sequence[tuple[int, nn.Module]], injection: Injection, undo: ExitStack
) -> None:
    """Strike checksums as the model hands them out; a tap that was there before is called first."""
    guard = tapped_guard(model)
    if guard is None:
        site, kind = injection.faults[faults[0][0]].site, type(model).__name__
        raise UsageError(f"fault in {site}", expected="a model protected by checksums", got=kind)
    former = guard.tap

    def tap(layer: str, site: str, values: Any) -> None:
        if former is not None:
            former(layer, site, values)
        for number, module in faults:
            fault = injection.faults[number]
            if (fault.layer, fault.site) == (layer, site) and not injection.spent(number):
                hit = injection.strike(number, values, module)
                if site in STORED:
                    undo.callback(write_words, values, *hit)

    def untap() -> None:
        guard.tap = former

    undo.callback(untap)
    guard.tap = tap


def _output_hook(number: int, injection: Injection) -> Callable[[nn.Module, Any, Any, Any], Any]:
    def hook(layer: nn.Module, args: Any, kwargs: Any, output: Any) -> Any:
        if injection.faults[number].site == "output":
            return _with_damage(output, layer, number, injection)
        x = first_tensor((args, kwargs))
        assert x is not None
        return _with_damage(output, layer, number, injection, x)

    return hook


def _input_hook(number: int, injection: Injection, undo: ExitStack) -> Callable[[nn.Module, Any, Any], Any]:
    def hook(layer: nn.Module, args: Any, kwargs: Any) -> Any:
        if not injection.faults[number].resident:
            return _with_damage((args, kwargs), layer, number, injection)
        tensor = first_tensor((args, kwargs))
        if tensor is not None and not injection.spent(number):
            # Undone in the end, because it may be the caller's.
            undo.callback(write_words, tensor, *injection.strike(number, tensor, layer))
        return None

    return hook


def _with_damage(
    values: Any, layer: nn.Module, number: int, injection: Injection, x: Tensor | None = None
) -> Any:
    """``values`` with its first tensor replaced by a damaged copy; None (unchanged) once the fault is spent.

    A copy, because the tensor may be seen by others: a layer's input by its caller, and the output of an
    identity is its input. With ``x``, the layer's input, it is the accumulator that is damaged.
    """
    if injection.spent(number):
        return None
    tensor = first_tensor(values)
    if tensor is None:
        fault = injection.faults[number]
        raise UsageError(f"{fault.site} of {fault.layer!r}", expected="a tensor", got=type(values).__name__)
    copy = tensor.clone(memory_format=torch.preserve_format)
    if x is None:
        injection.strike(number, copy, layer)
    else:
        injection.strike_sum(number, layer, x, copy)
    return replaced(values, tensor, copy)
