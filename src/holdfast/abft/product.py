"""A layer as the bilinear product O = D ⊗ W that the checksums are about, whatever its kind.

Every convolution (1-, 2-, 3-dimensional, strided, dilated, grouped, transposed, any padding) and every matrix
product has the form

    O[n, m, p] = Σ_c Σ_t  D[n, c, tap(p, t)] · W[m, c, t]

where tap(p, t) is the input position that kernel entry t meets at output position p, or none. Blocks are the
pairs (n, m); each output position p has checksums of its own, and can be judged without the others.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import prod

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from holdfast.abft.checksum import kernel_sum

_Indices = NDArray[np.int64]
CHUNK = 1 << 22
"""Numbers that are gathered at once (float64: 32 MiB), so that memory stays bounded on any layer."""


@dataclass(frozen=True)
class Window:
    """How a kernel of ``size`` moves over its input, one number a spatial dimension; () for a matrix product.

    ``padding``: (before, after) of each dimension; ``mode`` as in ``torch.nn.functional.pad``. Transposed:
    the padding is taken from the output, and ``extra`` is torch's ``output_padding``.
    """

    size: tuple[int, ...] = ()
    stride: tuple[int, ...] = ()
    dilation: tuple[int, ...] = ()
    padding: tuple[tuple[int, int], ...] = ()
    mode: str = "zeros"
    transposed: bool = False
    extra: tuple[int, ...] = ()

    def output_size(self, space: Sequence[int]) -> tuple[int, ...]:
        """Size of the output for an input of spatial size ``space``."""
        if not self.size:
            return tuple(space)
        reach = [d * (k - 1) + 1 for d, k in zip(self.dilation, self.size, strict=True)]
        margin = [before + after for before, after in self.padding]
        dimensions = range(len(reach))
        if self.transposed:
            return tuple(
                (space[i] - 1) * self.stride[i] - margin[i] + reach[i] + self.extra[i] for i in dimensions
            )
        return tuple((space[i] + margin[i] - reach[i]) // self.stride[i] + 1 for i in dimensions)

    def taps(self, space: Sequence[int], positions: Tensor) -> Tensor:
        """Input positions (V, T) that the T kernel entries meet at output ``positions`` (V,), all flat.

        An entry that meets nothing but padding zeros gets the number prod(space).
        """
        if not self.size:
            return positions[:, None]
        steps = []  # in numpy, whose calls cost a third of torch's: V is small where time counts
        coordinates = np.unravel_index(positions.numpy(), self.output_size(space))
        for i, at in enumerate(coordinates):
            offsets = np.arange(self.size[i]) * self.dilation[i]
            if self.transposed:
                numerator = at[:, None] + self.padding[i][0] - offsets
                index = numerator // self.stride[i]
                fits = (numerator % self.stride[i] == 0) & (index >= 0) & (index < space[i])
            else:
                index = at[:, None] * self.stride[i] + offsets - self.padding[i][0]
                index, fits = self._reflected(index, space[i], i)
            steps.append((index, fits))
        flat, inside = np.zeros((len(positions), 1), np.int64), np.ones((1, 1), np.bool_)
        for size, (index, fits) in zip(space, steps, strict=True):
            flat = (flat[:, :, None] * size + index[:, None, :]).reshape(len(flat), -1)
            inside = (inside[:, :, None] & fits[:, None, :]).reshape(len(fits), -1)
        return torch.from_numpy(np.where(inside, flat, prod(space)))

    def _reflected(self, index: _Indices, size: int, dimension: int) -> tuple[_Indices, NDArray[np.bool_]]:
        """Where an ``index`` in the padding is read from, and whether it is read at all."""
        if self.mode == "zeros":
            return index, (index >= 0) & (index < size)
        before, after = self.padding[dimension]
        line = torch.arange(size, dtype=torch.float64)[None, None]
        padded = functional.pad(line, (before, after), mode=self.mode)[0, 0].long().numpy()
        return padded[index + before], np.ones_like(index, dtype=np.bool_)


@dataclass
class Product:
    """The product of one layer: where its weights are, their checksums, and its geometry.

    ``weight`` gives the weights as they are in memory now, (M, C/groups, *kernel) of any float dtype; ``cw1``
    and ``cw2`` (C, *kernel) float64 were taken while they were pristine.
    """

    weight: Callable[[], Tensor]
    cw1: Tensor
    cw2: Tensor
    window: Window = field(default_factory=Window)
    groups: int = 1
    _met: tuple[Tensor, list[int], Tensor] | None = field(default=None, repr=False, compare=False)

    @classmethod
    def of(cls, weight: Callable[[], Tensor], window: Window | None = None, groups: int = 1) -> Product:
        """The product with ``weight()`` as it is now for the pristine one."""
        pristine = weight()
        return cls(
            weight,
            kernel_sum(pristine, groups),
            kernel_sum(pristine, groups, weighted=True),
            window or Window(),
            groups,
        )

    def as_made(self) -> bool:
        """Whether ``cw1`` and ``cw2`` are what the weights in memory give."""
        made = Product.of(self.weight, self.window, self.groups)
        return torch.equal(made.cw1, self.cw1) and torch.equal(made.cw2, self.cw2)

    def by_kernels(self, d: Tensor, positions: Tensor, dtype: torch.dtype = torch.float64) -> Tensor:
        """``d`` ⊗ W at ``positions`` (V,): Co1 of Cd1, Co3 of Cd2.

        ``d`` (K, C, *space) of any float dtype; returns (K, M, V), computed in ``dtype``. Error: C·T
        roundings.
        """
        weight = self.weight().detach()
        kernels = weight.reshape(self.groups, -1, weight.shape[1], max(1, prod(self.window.size)))
        if dtype is weight.dtype or self.groups > 1:
            return self._contract(d, positions, kernels, dtype)
        pieces = torch.split(kernels, max(1, CHUNK // max(1, weight[0].numel())), 1)
        return torch.cat([self._contract(d, positions, piece, dtype) for piece in pieces], 1)

    def near(self, d: Tensor, positions: Tensor) -> Tensor:
        """``d`` (K, C, *space) ⊗ W at ``positions`` (V,): (K, M, V), as exact as the layer itself.

        In float32 it costs little more than reading the weights once.
        """
        narrow = torch.get_float32_matmul_precision() == "highest" and self.weight().dtype is torch.float32
        return self.by_kernels(d, positions, torch.float32 if narrow else torch.float64)

    def by_sums(self, d: Tensor, positions: Tensor, sums: Sequence[Tensor]) -> Tensor:
        """``d`` ⊗ each of ``sums`` (C, *kernel) at ``positions`` (V,): Co2, Co4 of D, Co5 … Co7 of Cd1, Cd2.

        ``d`` (K, C, *space); returns (K, len(sums), V) in float64. Error: C·T roundings.
        """
        taps = max(1, prod(self.window.size))
        kernels = torch.stack([each.reshape(-1, taps) for each in sums])[None]
        return self._contract(d, positions, kernels, torch.float64)

    def _contract(self, d: Tensor, positions: Tensor, kernels: Tensor, dtype: torch.dtype) -> Tensor:
        """Σ_c Σ_t over ``kernels`` (G, M/G, C/G, T): gather the patches, multiply."""
        count, channels, *space = d.shape
        groups, each, _, taps = kernels.shape
        # Patches come by taps, then channels, as whole pixels; kernels in either order need no copy.
        last = kernels.stride(2) == 1 or taps == 1
        kernels = (kernels.transpose(2, 3) if last else kernels).flatten(2).to(dtype)
        pixels = d.detach().reshape(count, channels, -1).movedim(1, -1)
        missing_at = pixels.shape[1]
        if len(positions) * taps > missing_at:
            pixels = pixels.contiguous()
        pieces = []
        step = max(1, CHUNK // (count * channels * taps))
        for chunk in torch.split(positions, step) if len(positions) > step else (positions,):
            met = self._taps(space, chunk)
            missing = met == missing_at
            outside = bool(missing.any())
            patches = pixels[:, met.where(~missing, 0) if outside else met].to(dtype)  # (K, V, T, C)
            if outside:
                patches.masked_fill_(missing[:, :, None], 0.0)
            patches = patches.reshape(count, len(chunk), taps, groups, -1).movedim(3, 0)
            if not last:
                patches = patches.transpose(3, 4)
            out = patches.reshape(groups, count * len(chunk), -1) @ kernels.mT
            out = out.reshape(groups, count, len(chunk), each).permute(1, 0, 3, 2)
            pieces.append(out.reshape(count, groups * each, len(chunk)))
        return torch.cat(pieces, 2) if len(pieces) != 1 else pieces[0]

    def _taps(self, space: list[int], positions: Tensor) -> Tensor:
        """The window's taps; kept, as the checksums of the same positions come one after the other."""
        kept = self._met
        if kept is None or kept[0] is not positions or kept[1] != space:
            kept = self._met = positions, space, self.window.taps(space, positions)
        return kept[2]


def every_position(window: Window, space: Sequence[int]) -> Tensor:
    """All positions of the output, in order."""
    return torch.arange(prod(window.output_size(space)))


def index_of(position: int, size: Sequence[int]) -> tuple[int, ...]:
    """The index of flat ``position`` in a map of ``size``."""
    index: list[int] = []
    for extent in reversed(size):
        position, rest = divmod(position, extent)
        index.insert(0, rest)
    return tuple(index)
