"""The bytes of the weights name the pixels that a convolution reads."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from holdfast.export.c_steps import Maps, Product
from holdfast.export.c_weights import digits, live, rice, start, stepped
from holdfast.subnet import golomb


def product(
    sides: tuple[int, int], kernel: tuple[int, int], groups: int, seed: int, **more: object
) -> Product:
    generator = np.random.default_rng(seed)
    mask = generator.random((2 * groups, 3, *kernel)) < 0.4
    stride, padding, dilation = (more.get(key, 1) for key in ("stride", "padding", "dilation"))
    outs = [
        (side + 2 * padding - dilation * (size - 1) - 1) // stride + 1
        for side, size in zip(sides, kernel, strict=True)
    ]
    # Another reader of the source may want more zeros than this one.
    spare = more.get("spare", 0)
    source = Maps(3 * groups, *sides, pad=(padding + spare, padding + 2 * spare))
    signs = generator.random(int(mask.sum())) < 0.5
    return Product(
        Maps(2 * groups, *outs),
        source,
        "conv",
        mask=mask,
        signs=signs,
        groups=groups,
        stride=(stride, stride),
        padding=(padding, padding),
        dilation=(dilation, dilation),
    )


def numbers(code: bytes) -> list[int]:
    found, value = [], 0
    for byte in code:
        value = value << 7 | byte & 127
        if byte < 128:
            found.append(value)
            value = 0
    assert value == 0
    return found


@given(
    sides=st.tuples(st.integers(1, 6), st.integers(1, 6)),
    kernel=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    groups=st.integers(1, 2),
    stride=st.integers(1, 3),
    padding=st.integers(0, 2),
    dilation=st.integers(1, 2),
    spare=st.integers(0, 1),
    seed=st.integers(0, 99),
)
@settings(max_examples=80, deadline=None)
def test_sums_over_the_named_places_are_the_convolution(sides, kernel, groups, seed, **more) -> None:  # type: ignore[no-untyped-def]
    padding, dilation = more["padding"], more["dilation"]
    if any(side + 2 * padding < dilation * (size - 1) + 1 for side, size in zip(sides, kernel, strict=True)):
        return
    step = product(sides, kernel, groups, seed, **more)
    source, out = step.source, step.out
    assert source is not None
    image = torch.from_numpy(np.random.default_rng(seed).integers(-9, 10, (source.channels, *sides))).double()
    memory = np.zeros(source.floats)
    for (c, y, x), pixel in np.ndenumerate(image.numpy()):
        memory[source.origin + c * source.plane + y * source.row + x] = pixel
    read, sums = iter(numbers(stepped(step))), np.zeros((out.channels, out.height, out.width))
    for plane in sums:
        at = start(step)
        for _ in range(next(read)):
            jump = next(read)
            at += jump >> 1
            for (y, x), _ in np.ndenumerate(plane):
                pixel = memory[at + y * step.stride[0] * source.row + x * step.stride[1]]
                plane[y, x] += -pixel if jump & 1 else pixel
    assert next(read, None) is None
    weight = torch.zeros(step.mask.shape, dtype=torch.float64)
    weight[torch.from_numpy(step.mask)] = torch.where(torch.from_numpy(step.signs), 1.0, -1.0).double()
    expected = functional.conv2d(image[None], weight, None, step.stride, step.padding, step.dilation, groups)
    np.testing.assert_array_equal(sums, expected[0].numpy())


def test_weights_that_only_meet_padding_are_left_out() -> None:
    step = product((1, 1), (3, 3), 1, 0, padding=1)
    step.mask[:] = True
    assert live(step).sum() == step.mask.size // 9
    assert live(step)[:, :, 1, 1].all()


@pytest.mark.parametrize("number", [0, 1, 127, 128, 300, 16383, 16384, 2**31])
def test_digits_are_read_back(number: int) -> None:
    assert numbers(digits(number)) == [number]


@pytest.mark.parametrize("side", [1, 4])
def test_rice_is_the_code_of_the_live_mask(side: int) -> None:
    step = product((side, side), (3, 3), 1, 1, padding=1)
    step.key = 5
    code = rice(step)
    mask, used = golomb.decode(code.code, step.mask.size, code.kept, code.k)
    assert np.array_equal(mask, live(step).reshape(-1))
    assert (used, code.signs) == (len(code.code), b"")
    assert len(code.code) - code.remainders == -(-code.kept * code.k // 8)
    step.key = None
    assert len(rice(step).signs) == -(-int(live(step).sum()) // 8)
