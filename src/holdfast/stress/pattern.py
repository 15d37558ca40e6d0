"""Which elements of a tensor a fault hits besides the one it names."""

from __future__ import annotations

from collections.abc import Sequence
from math import lcm, prod

import torch
from torch import Tensor

from holdfast.core.errors import UsageError
from holdfast.stress.fault import Pattern


def ravel(index: Sequence[int], shape: Sequence[int]) -> int:
    """The number of element ``index`` of a tensor of ``shape``, last dimension running fastest."""
    flat = 0
    for position, size in zip(index, shape, strict=True):
        flat = flat * size + position
    return flat


def unravel(flat: int, shape: Sequence[int]) -> tuple[int, ...]:
    """The index of element ``flat`` of a tensor of ``shape``, last dimension running fastest."""
    index = []
    for size in reversed(shape):
        flat, position = divmod(flat, size)
        index.append(position)
    return tuple(reversed(index))


def elements_hit(
    shape: Sequence[int], index: tuple[int, ...], pattern: Pattern, extent: int, channels: int | None
) -> Tensor:
    """The numbers (E,) int64 of the elements of a tensor of ``shape`` that are hit, ``index`` first.

    ``channels`` is the dimension of the output channels m; dimension 0 is that of the images n, unless it is
    the channels' own (a single image). Where ``channels`` is None the tensor is one block. See ``Fault``.
    """
    flat = ravel(index, shape)
    if pattern == "element":
        return torch.tensor([flat])
    numbers = torch.arange(prod(shape))
    if channels is None or len(shape) < 2:
        if pattern != "block":
            expected = "element or block, for a tensor that has no images and channels"
            raise UsageError("pattern of a fault", expected=expected, got=repr(pattern))
        blocks = numbers.reshape(1, 1, -1)
    else:
        numbers = numbers.reshape(tuple(shape))
        numbers = numbers[None] if channels == 0 else numbers.movedim(channels, 1)
        blocks = numbers.reshape(numbers.shape[0], numbers.shape[1], -1)
    images, kernels, positions = blocks.shape
    n, m, p = unravel(int((blocks.flatten() == flat).nonzero()), blocks.shape)
    along = (p + torch.arange(min(extent, positions))) % positions
    if pattern == "block":
        return blocks[n, m, along]
    # Rolled, so that the element that was named comes first.
    if pattern == "row":
        return blocks[n].roll(-m, 0)[:, along].flatten()
    if pattern == "column":
        return blocks[:, m].roll(-n, 0)[:, along].flatten()
    steps = torch.arange(min(extent, lcm(images, kernels)))
    return blocks[(n + steps) % images, (m + steps) % kernels, p]
