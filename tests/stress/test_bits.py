from __future__ import annotations

import math
import struct

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from stress_support import flip_element, read_element

from holdfast.core.errors import UsageError
from holdfast.stress.bits import bit_class, check_index, select_bits, width

FORMATS = {
    "float64": (torch.float64, 64, 11),
    "float32": (torch.float32, 32, 8),
    "float16": (torch.float16, 16, 5),
    "bfloat16": (torch.bfloat16, 16, 8),
}
by_format = pytest.mark.parametrize(("dtype", "bits", "exponent"), FORMATS.values(), ids=FORMATS)


@by_format
def test_fields_of_a_number(dtype: torch.dtype, bits: int, exponent: int) -> None:
    assert width(dtype) == bits
    assert select_bits("all", dtype) == tuple(range(bits))
    assert select_bits("sign", dtype) == (bits - 1,)
    assert select_bits("exponent", dtype) == tuple(range(bits - 1 - exponent, bits - 1))
    assert len(select_bits("mantissa", dtype)) == bits - 1 - exponent


@pytest.mark.parametrize(
    ("bit", "field"), [(31, "sign"), (30, "exponent"), (23, "exponent"), (22, "mantissa")]
)
def test_fields_of_fp32(bit: int, field: str) -> None:
    assert bit_class(torch.float32, bit) == field


@given(st.floats(width=32, allow_nan=True), st.integers(0, 31))
def test_flip_is_what_struct_says(value: float, bit: int) -> None:
    tensor = torch.tensor([value], dtype=torch.float32)
    before = tensor.numpy().tobytes()
    (integer,) = struct.unpack("<I", before)
    flip_element(tensor, (0,), bit)
    assert tensor.numpy().tobytes() == struct.pack("<I", integer ^ (1 << bit))
    flip_element(tensor, (0,), bit)
    assert tensor.numpy().tobytes() == before


@by_format
@pytest.mark.parametrize("shape", [(1,), (3, 7), (2, 3, 4, 5)], ids=str)
def test_exactly_one_bit_of_one_element(dtype: torch.dtype, bits: int, exponent: int, shape: tuple) -> None:
    tensor = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(dtype)
    index = tuple(n - 1 for n in shape)
    for bit in range(bits):
        changed = tensor.clone()
        flip_element(changed, index, bit)
        difference = torch.tensor(
            [read_element(changed, i) != read_element(tensor, i) for i in _indices(shape)]
        )
        assert difference.sum() == 1
        mask = (1 << bits) - 1
        assert (read_element(changed, index) ^ read_element(tensor, index)) & mask == 1 << bit


def _indices(shape: tuple[int, ...]) -> list[tuple[int, ...]]:
    return [tuple(i) for i in torch.ones(shape).nonzero().tolist()]


@pytest.mark.parametrize("value", [0.0, -0.0, math.inf, -math.inf, math.nan], ids=str)
def test_special_values_survive_two_flips(value: float) -> None:
    tensor = torch.tensor([value])
    before = tensor.numpy().tobytes()
    for bit in range(32):
        flip_element(tensor, (0,), bit)
        assert tensor.numpy().tobytes() != before
        flip_element(tensor, (0,), bit)
        assert tensor.numpy().tobytes() == before


def test_strided_and_inference_tensors() -> None:
    base = torch.ones(4, 4)
    flip_element(base.t()[1:, ::2], (0, 1), 31)
    assert base[2, 1] == -1
    assert base.sum() == 14
    with torch.inference_mode():
        made_in_inference = torch.ones(2)
    flip_element(made_in_inference, (1,), 31)
    assert made_in_inference.tolist() == [1, -1]


@pytest.mark.parametrize(
    ("bits", "message"),
    [("everything", "bits"), ([], "empty"), ([32], "0 to 31"), ([-1], "0 to 31")],
    ids=["unknown word", "empty", "too high", "negative"],
)
def test_wrong_bits(bits: object, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        select_bits(bits, torch.float32)  # type: ignore[arg-type]


def test_integers_have_no_float_bits() -> None:
    with pytest.raises(UsageError, match="int64"):
        width(torch.int64)


@pytest.mark.parametrize("index", [(), (0,), (0, 2), (2, 0), (-1, 0), (0, 0, 0)], ids=str)
def test_index_outside(index: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match=r"shape \(2, 2\)"):
        check_index(torch.Size((2, 2)), index, "weight")
