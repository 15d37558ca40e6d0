"""Kept weights as bytes in flash: where each one reads, or in the packed file's code which they are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from holdfast.export.c_steps import Product
from holdfast.subnet import golomb


@dataclass(frozen=True)
class Rice:
    """A mask as ``golomb.encode`` codes it, and the kept signs, or none where the generator makes them.

    ``code`` holds the quotients and from byte ``remainders`` the remainders of ``kept`` gaps, of parameter
    ``k``; ``signs`` a bit for each, the lowest of a byte first, set for +1.
    """

    code: bytes
    k: int
    kept: int
    remainders: int
    signs: bytes


def live(product: Product) -> NDArray[np.bool_]:
    """The mask without weights that only ever meet padding: they change no sum."""
    source, out = product.source, product.out
    assert source is not None
    sides, outs, kernel = (source.height, source.width), (out.height, out.width), product.mask.shape[2:]
    seen = []
    for i in range(2):
        first = np.arange(outs[i]) * product.stride[i] - product.padding[i]
        at = first[:, None] + np.arange(kernel[i]) * product.dilation[i]
        seen.append(((at >= 0) & (at < sides[i])).any(axis=0))
    met: NDArray[np.bool_] = np.logical_and.outer(*seen)
    return product.mask & met


def start(product: Product) -> int:
    """Where in the source, in floats, the first tap of the first output reads."""
    source = product.source
    assert source is not None
    rows, columns = (have - want for have, want in zip(source.pad, product.padding, strict=True))
    return rows * source.row + columns


def offsets(product: Product) -> NDArray[np.int64]:
    """Floats from ``start`` to where each weight (M, C/groups, KH, KW) reads for the first output."""
    source = product.source
    assert source is not None
    many, inner, high, wide = product.mask.shape
    group = np.arange(many) // (many // product.groups)
    channel = group[:, None] * inner + np.arange(inner)
    rows = np.arange(high) * product.dilation[0] * source.row
    columns = np.arange(wide) * product.dilation[1]
    found: NDArray[np.int64] = channel[:, :, None, None] * source.plane + np.add.outer(rows, columns)
    return found


def stepped(product: Product) -> bytes:
    """For each output channel the number of its weights, then for each, in the order of what they read,

    2 · (floats from what the one before read, or from ``start``) + (1 where it is -1). All numbers are in
    base 128, the highest digit first, with 128 added to all digits but the last.
    """
    mask, places = live(product), offsets(product)
    negative = np.zeros(mask.shape, dtype=np.bool_)
    negative[product.mask] = ~product.signs
    numbers: list[int] = []
    for kept, place, minus in zip(mask, places, negative, strict=True):
        order = np.argsort(place[kept], kind="stable")
        steps = np.diff(place[kept][order], prepend=0)
        numbers += [len(steps), *(2 * steps + minus[kept][order]).tolist()]
    return b"".join(map(digits, numbers))


def digits(number: int) -> bytes:
    """``number`` ≥ 0 in base 128."""
    found = [number & 127]
    while number := number >> 7:
        found.append(128 | number & 127)
    return bytes(reversed(found))


def rice(product: Product) -> Rice:
    """The mask in the code of the packed file, without weights that only meet padding."""
    mask = live(product)
    code, k = golomb.encode(mask.reshape(-1))
    kept = int(mask.sum())
    signs = b""
    if product.key is None:
        signs = np.packbits(product.signs[mask[product.mask]], bitorder="little").tobytes()
    return Rice(code, k, kept, len(code) - -(-kept * k // 8), signs)
