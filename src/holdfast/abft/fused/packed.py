"""The weights in the layouts that oneDNN multiplies with: what really computes on the fast path."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import torch
from torch import Tensor

from holdfast.abft.product import Window
from holdfast.abft.weights import crc


class Packed:
    """Prepacked copies of ``source()`` = (weight, bias), made when they are first needed.

    oneDNN chooses the layout by the shape of the input; shapes with the same layout share a copy, and nearly
    always there is only one. Opaque to torch: never copied, pickled or part of a state dict. ``source`` gives
    the pristine weights.
    """

    def __init__(
        self, source: Callable[[], tuple[Tensor, Tensor | None]], window: Window, groups: int
    ) -> None:
        self._source = source
        self.window, self.groups = window, groups
        self.bias: Tensor | None = None
        self._copies: dict[tuple[int, ...], Any] = {}
        self._marks = (0, 0)
        self._struck: Tensor | None = None

    def ready(self, shape: tuple[int, ...]) -> Any:
        """The packed weight for inputs of ``shape``."""
        if shape not in self._copies:
            weight, bias = self._source()
            if not self._copies:
                self.bias = None if bias is None else bias.clone()
                self._marks = crc(weight), 0 if bias is None else crc(bias)
            if self._struck is not None:
                weight = self._struck
            packed = self._pack(weight, shape)
            layout = torch.ops.mkldnn._get_mkldnn_serialized_md(packed)
            for copy in self._distinct():
                if torch.equal(torch.ops.mkldnn._get_mkldnn_serialized_md(copy), layout):
                    packed = copy
                    break
            self._copies[shape] = packed
        return self._copies[shape]

    def _distinct(self) -> list[Any]:
        return list({id(copy): copy for copy in self._copies.values()}.values())

    def _pack(self, weight: Tensor, shape: tuple[int, ...]) -> Any:
        with torch.inference_mode(False), torch.no_grad():
            weight = weight.clone(memory_format=torch.contiguous_format)
            if not self.window.size:
                return torch.ops.mkldnn._reorder_linear_weight(weight, prod(shape[:-1]))
            return torch.ops.mkldnn._reorder_convolution_weight(
                weight,
                [before for before, _ in self.window.padding],
                list(self.window.stride),
                list(self.window.dilation),
                self.groups,
                list(shape),
            )

    def drop(self) -> None:
        """Forget the copies; the next call makes them again."""
        self._copies, self.bias, self._struck = {}, None, None

    def dense(self) -> Tensor:
        """The weights that compute, (M, C/groups, *kernel), copied into the ordinary layout.

        Of several copies the one that is not as it was packed, if any.
        """
        found = [copy.to_dense() for copy in self._distinct()]
        damaged = [dense for dense in found if crc(dense) != self._marks[0]] if len(found) > 1 else []
        dense: Tensor = (damaged or found or [self._source()[0].clone()])[0]
        return dense

    @property
    def bytes(self) -> int:
        """Size of the copies."""
        bias = 0 if self.bias is None else self.bias.nbytes
        return bias + sum(int(torch.ops.mkldnn._nbytes(copy)) for copy in self._distinct())

    def intact(self) -> bool:
        """Whether the copies are, bit for bit, what was packed."""
        if not self._copies:
            return True
        return self._marks == (crc(self.dense()), 0 if self.bias is None else crc(self.bias))

    def damage(self, index: tuple[int, ...], bits: int) -> None:
        """Give element ``index`` of the weight that computes the float32 with the pattern ``bits``.

        For fault campaigns. The marks stay, so ``intact`` finds it.
        """
        dense = self.dense().contiguous()
        dense.view(torch.int32)[index] = bits - (1 << 32) if bits >= 1 << 31 else bits
        self.strike(dense)

    def strike(self, weight: Tensor) -> None:
        """Compute with ``weight``, as if memory had changed, until the copies are dropped."""
        self._struck = weight
        for shape in list(self._copies):
            self._copies[shape] = self._pack(weight, shape)
