"""The checksum convolution of one layer, prepared once: weights in both layouts, geometry by input shape."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from holdfast.kernels import native, portable, reference
from holdfast.kernels.types import Window


class ChecksumConvolution:
    """Co5 = Cd1 ⊗ Cw1 for a fixed ``weight`` Cw1 (C, R, S), float64, and a fixed ``window``.

    Call it with ``total`` (C, H, W), or (H, W, C) and ``channels_last``, contiguous float64; returns (P,)
    float64. Of a float32 ``total`` it takes ``portable.Convolution``. Picklable; what the native core
    prepared is made again after that.
    """

    def __init__(self, weight: Tensor, window: Window) -> None:
        self.weight = weight.contiguous()
        self.window = window
        self._last = weight.permute(1, 2, 0).contiguous()
        self._portable: portable.Convolution | None = None
        self._geometries: dict[tuple[torch.Size, bool], tuple[Any, int]] = {}

    def used(self, channels_last: bool) -> Tensor:
        """The weights (C, R, S) that a call with this layout multiplies with, in their own memory."""
        last = native.load() is not None and channels_last
        return self._last.permute(2, 0, 1) if last else self.weight

    def portable(self) -> portable.Convolution:
        """The convolution in float32."""
        if self._portable is None:
            self._portable = portable.Convolution(self.weight, self.window)
        return self._portable

    def __call__(self, total: Tensor, channels_last: bool) -> Tensor:
        """Co5 in float64, by the native core where it is there and the tensors are float64 on the CPU."""
        if total.dtype is torch.float32:
            return portable.checksum_convolution(self.portable(), total, channels_last)
        kernels = native.load()
        if kernels is None or not total.is_cpu:
            return reference.checksum_convolution(total, self.weight, self.window, channels_last)
        key = (total.shape, channels_last)
        geometry = self._geometries.get(key)
        if geometry is None:
            a, b, c = total.shape
            shape = (c, a, b) if channels_last else (a, b, c)
            _, r, s = self.weight.shape
            geometry = self._geometries[key] = kernels.geometry(shape, (r, s), self.window)
        weight = self._last if channels_last else self.weight
        return kernels.checksum_convolution(total, weight, geometry, channels_last)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_geometries": {}}
