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


def read_element(tensor: Tensor, index: tuple[int, ...]) -> int:
    """The bits of one element as an integer."""
    return int(_integer_view(tensor)[index])


def write_element(tensor: Tensor, index: tuple[int, ...], value: int) -> None:
    """Overwrite the bits of one element in place, unseen by autograd."""
    # Inference mode allows the write whether or not the tensor was itself made in inference mode.
    with torch.inference_mode():
        _integer_view(tensor)[index] = value


def flip_element(tensor: Tensor, index: tuple[int, ...], bit: int) -> None:
    """Invert one bit of one element in place, unseen by autograd; twice restores it exactly."""
    mask = 1 << bit
    if bit == width(tensor.dtype) - 1:
        mask -= 1 << width(tensor.dtype)  # the sign bit alone, in two's complement
    write_element(tensor, index, read_element(tensor, index) ^ mask)


def check_index(shape: torch.Size, index: tuple[int, ...], where: str) -> None:
    """Raise UsageError unless ``index`` names one element of a tensor of ``shape`` (no negative numbers)."""
    inside = len(index) == len(shape) and all(0 <= i < n for i, n in zip(index, shape, strict=True))
    if not inside:
        raise UsageError(f"index of {where}", expected=f"one element of shape {tuple(shape)}", got=index)


def _integer_view(tensor: Tensor) -> Tensor:
    return tensor.detach().view(_format(tensor.dtype).integer)
