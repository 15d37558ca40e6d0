"""What protection keeps in memory beside the model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor

if TYPE_CHECKING:
    from holdfast.abft.protect import Protected


@dataclass(frozen=True)
class Memory:
    """Sizes in bytes, each apart: the model's own, and what protection adds to it.

    ``weights``: parameters and buffers. ``checksums``: Cw1 and Cw2 of every layer, in each layout that they
    are multiplied in, and on the fast path those of the folded weights. ``pristine``: the copy that weights
    are reloaded from. ``packed``: the weights that compute on the fast path, once that has been built.
    """

    weights: int
    checksums: int
    pristine: int
    packed: int


def memory(model: Protected) -> Memory:
    """What ``model`` keeps now. Left out: thresholds, work space, and the native plans of input shapes."""
    sums: list[Tensor] = []
    for layer in model.layers():
        sums += [layer.product.cw1, layer.product.cw2, *map(layer.expected.weights, (False, True))]
    fast = model.fast.program if model.fast is not None else None
    for fused in () if fast is None else fast.layers:
        sums += [fused.cw1, fused.cw2]
    return Memory(
        weights=_size([*model.parameters(), *model.buffers()]),
        checksums=_size(sums),
        pristine=model.keeper.bytes_kept,
        packed=0 if model.fast is None else model.fast.packed_bytes,
    )


def _size(tensors: list[Tensor]) -> int:
    """Bytes of the memory of ``tensors``, each piece of it counted once."""
    pieces = (tensor.untyped_storage() for tensor in tensors)
    return sum({piece.data_ptr(): piece.nbytes() for piece in pieces}.values())
