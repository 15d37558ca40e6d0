"""A fault strikes a tensor: what it leaves open is drawn, and the numbers are changed."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import torch
from torch import Tensor, nn

from holdfast.core import seeding
from holdfast.core.errors import UsageError
from holdfast.stress.accumulator import accumulator_dtype, partial_sums
from holdfast.stress.bits import (
    as_word,
    check_bit,
    check_index,
    flipped,
    random_words,
    read_words,
    width,
    write_words,
)
from holdfast.stress.fault import Fault
from holdfast.stress.pattern import elements_hit, unravel

_LARGE: Final = 1e38


def channel_dimension(layer: nn.Module, site: str, tensor: Tensor) -> int | None:
    """The dimension of channels in ``tensor`` at ``site`` of ``layer``; None for a checksum, which has none.

    In a weight (M, C, ...) it is that of the input channels, so that a row is what one kernel holds.
    """
    if site not in ("weight", "input", "output", "accumulator"):
        return None
    if site == "weight":
        return 1
    if isinstance(layer, nn.Linear):
        return tensor.dim() - 1
    if isinstance(layer, nn.modules.conv._ConvNd) and tensor.dim() == len(layer.kernel_size) + 1:
        return 0
    return 1


def strike(tensor: Tensor, fault: Fault, channels: int | None, seed: int) -> tuple[Fault, Tensor, Tensor]:
    """Damage ``tensor`` in place; return the fault with everything drawn, and what was there before.

    That is the numbers (E,) of the elements and their former words (E,). Draws come from ``seed``. Raises
    UsageError for an index or a bit that ``tensor`` lacks.
    """
    fault = _drawn(fault, tensor, tensor.dtype, seed)
    numbers = elements_hit(tensor.shape, fault.index or (), fault.pattern, fault.extent, channels)
    former = read_words(tensor, numbers)
    write_words(tensor, numbers, _damaged(former, tensor.dtype, fault))
    return fault, numbers, former


def strike_accumulator(
    layer: nn.Module, x: Tensor, output: Tensor, fault: Fault, channels: int | None, seed: int
) -> Fault:
    """Let the sums of elements of ``output`` (of ``layer`` called with ``x``) go wrong; changes it in place.

    The partial sum after ``step`` products is damaged, and the difference added to the element: what follows
    is added as before. Returns the fault with everything drawn.
    """
    dtype = accumulator_dtype(output.dtype)
    fault = _drawn(fault, output, dtype, seed)
    for number in elements_hit(
        output.shape, fault.index or (), fault.pattern, fault.extent, channels
    ).tolist():
        index = unravel(number, output.shape)
        sums = partial_sums(layer, x, index)
        step = fault.step
        if step is None:
            step = 1 + seeding.derive(seed, "step") % max(1, len(sums))
            fault = replace(fault, step=step)
        before = sums[min(step, len(sums)) - 1][None] if len(sums) else torch.zeros(1, dtype=dtype)
        after = _damaged(before.view(as_word(0.0, dtype).dtype), dtype, fault).view(dtype)
        with torch.inference_mode():
            value = output[index].to(torch.float64) + (after.to(torch.float64) - before.to(torch.float64))[0]
            output[index] = value.to(output.dtype)
    return fault


def _drawn(fault: Fault, tensor: Tensor, dtype: torch.dtype, seed: int) -> Fault:
    """``fault`` with index, bit and seed drawn where they are open, and checked."""
    where = f"{fault.site} of {fault.layer!r}"
    index, bit, own_seed = fault.index, fault.bit, fault.seed
    if index is None:
        if tensor.numel() == 0:
            raise UsageError(where, expected="elements", got="none")
        index = unravel(seeding.derive(seed, "index") % tensor.numel(), tensor.shape)
    check_index(tensor.shape, index, where)
    if fault.effect == "flip":
        if bit is None:
            bit = seeding.derive(seed, "bit") % max(1, width(dtype) - fault.burst + 1)
        check_bit(dtype, bit)
        check_bit(dtype, bit + fault.burst - 1)
    if fault.effect == "random" and own_seed is None:
        own_seed = seeding.derive(seed, "word")
    return replace(fault, index=index, bit=bit, seed=own_seed)


def _damaged(words: Tensor, dtype: torch.dtype, fault: Fault) -> Tensor:
    """What the fault makes of ``words`` (E,), the bits of numbers of ``dtype``."""
    if fault.effect == "flip":
        assert fault.bit is not None
        return flipped(words, fault.bit, fault.burst)
    if fault.effect == "random":
        assert fault.seed is not None
        return random_words(len(words), dtype, fault.seed).to(words.device)
    large = min(_LARGE, torch.finfo(dtype).max)
    value = large if fault.effect == "large" else float(fault.effect)
    return as_word(value, dtype).to(words.device).expand_as(words)
