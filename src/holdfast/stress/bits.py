"""Bits of floating-point numbers, reached through an integer view of the same memory (IEEE 754)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal

import torch
from torch import Tensor

from holdfast.core.errors import UsageError

BitClass = Literal["sign", "exponent", "mantissa"]
Bits = Literal["all", "sign", "exponent", "mantissa"] | Sequence[int]


@dataclass(frozen=True)
class _Format:
    integer: torch.dtype
    width: int
    mantissa: int


_FORMATS = {
    torch.float64: _Format(torch.int64, 64, 52),
    torch.float32: _Format(torch.int32, 32, 23),
    torch.float16: _Format(torch.int16, 16, 10),
    torch.bfloat16: _Format(torch.int16, 16, 7),
}


def _format(dtype: torch.dtype) -> _Format:
    if dtype not in _FORMATS:
        known = ", ".join(str(name).removeprefix("torch.") for name in _FORMATS)
        raise UsageError("bit flip", expected=f"one of {known}", got=str(dtype).removeprefix("torch."))
    return _FORMATS[dtype]


def width(dtype: torch.dtype) -> int:
    """Number of bits of ``dtype``. Raises UsageError if it is not a floating-point type."""
    return _format(dtype).width


def bit_class(dtype: torch.dtype, bit: int) -> BitClass:
    """Which field ``bit`` (0 = least significant) belongs to; fp32: 31 sign, 30..23 exponent."""
    form = _format(dtype)
    check_bit(dtype, bit)
    if bit == form.width - 1:
        return "sign"
    return "exponent" if bit >= form.mantissa else "mantissa"


def check_bit(dtype: torch.dtype, bit: int) -> None:
    """Raise UsageError unless ``dtype`` has a bit of this number."""
    if not 0 <= bit < width(dtype):
        name = str(dtype).removeprefix("torch.")
        raise UsageError("bit", expected=f"0 to {width(dtype) - 1} ({name})", got=bit)


def select_bits(bits: Bits, dtype: torch.dtype) -> tuple[int, ...]:
    """The bit numbers that ``bits`` means for ``dtype``: a class, "all", or the listed numbers as given.

    Raises UsageError for an unknown word, an empty list, or a bit that ``dtype`` lacks.
    """
    return _select_bits(bits if isinstance(bits, str) else tuple(bits), dtype)


@cache
def _select_bits(bits: str | tuple[int, ...], dtype: torch.dtype) -> tuple[int, ...]:
    if not isinstance(bits, str):
        for bit in bits:
            check_bit(dtype, bit)
        if not bits:
            raise UsageError("bits", expected="at least one", got="an empty list")
        return tuple(bits)
    if bits not in ("all", "sign", "exponent", "mantissa"):
        raise UsageError("bits", expected='"all", "sign", "exponent", "mantissa" or a list', got=repr(bits))
    return tuple(bit for bit in range(width(dtype)) if bits in ("all", bit_class(dtype, bit)))


def read_words(tensor: Tensor, numbers: Tensor) -> Tensor:
    """The bits of the elements with these ``numbers`` (E,), counted in row-major order, as integers (E,)."""
    return _integer_view(tensor)[_positions(numbers, tensor.shape)]


def write_words(tensor: Tensor, numbers: Tensor, words: Tensor) -> None:
    """Overwrite the bits of elements in place, unseen by autograd; the inverse of ``read_words``."""
    # Inference mode allows the write whether or not the tensor was itself made in inference mode.
    with torch.inference_mode():
        _integer_view(tensor)[_positions(numbers, tensor.shape)] = words


def flipped(words: Tensor, bit: int, burst: int = 1) -> Tensor:
    """``words`` with ``burst`` adjacent bits from ``bit`` up inverted; twice restores them exactly."""
    bits = torch.iinfo(words.dtype).bits
    mask = ((1 << burst) - 1) << bit
    return words ^ (mask - (1 << bits) if mask >> (bits - 1) else mask)  # in two's complement


def as_word(value: float, dtype: torch.dtype) -> Tensor:
    """The bits of ``value`` in ``dtype`` as an integer tensor (1,)."""
    return torch.tensor([value], dtype=dtype).view(_format(dtype).integer)


def random_words(count: int, dtype: torch.dtype, seed: int) -> Tensor:
    """``count`` words of uniformly random bits, to be read as ``dtype``."""
    form = _format(dtype)
    generator = torch.Generator().manual_seed(seed)
    low = torch.iinfo(form.integer).min
    return torch.randint(low, -low - 1, (count,), generator=generator, dtype=form.integer)


def check_index(shape: torch.Size, index: tuple[int, ...], where: str) -> None:
    """Raise UsageError unless ``index`` names one element of a tensor of ``shape`` (no negative numbers)."""
    inside = len(index) == len(shape) and all(0 <= i < n for i, n in zip(index, shape, strict=True))
    if not inside:
        raise UsageError(f"index of {where}", expected=f"one element of shape {tuple(shape)}", got=index)


def _positions(numbers: Tensor, shape: Sequence[int]) -> tuple[Tensor, ...]:
    """Element ``numbers`` as one index tensor a dimension."""
    positions = []
    for size in reversed(shape):
        positions.append(numbers % size)
        numbers = numbers // size
    return tuple(reversed(positions))


def _integer_view(tensor: Tensor) -> Tensor:
    return tensor.detach().view(_format(tensor.dtype).integer)
