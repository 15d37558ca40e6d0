"""Co5 of a layer: Cd1 ⊗ Cw1, prepared once, at every position."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from holdfast.abft.product import Window
from holdfast.kernels import ChecksumConvolution
from holdfast.kernels import Window as FlatWindow
from holdfast.kernels.portable import Convolution

_CONVOLUTIONS = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}
_TRANSPOSED = {
    1: functional.conv_transpose1d,
    2: functional.conv_transpose2d,
    3: functional.conv_transpose3d,
}


class ExpectedSums:
    """Co5 (P,) in float64 of Cd1 (C, *space), for fixed ``weight`` Cw1 (C, *kernel) and ``window``.

    One- and two-dimensional convolutions and matrix products go to the compiled core, as ``flat``;
    the rest to torch.
    """

    def __init__(self, weight: Tensor, window: Window) -> None:
        self.window = window
        self._weight = weight
        self.flat: ChecksumConvolution | None = None
        dimensions = len(window.size)
        if dimensions <= 2 and not window.transposed:
            missing = 2 - dimensions
            padding = window.padding if window.mode == "zeros" else ((0, 0),) * dimensions
            (top, bottom), (left, right) = [*[(0, 0)] * missing, *padding]
            self.flat = ChecksumConvolution(
                weight.reshape(weight.shape[0], *[1] * missing, *window.size),
                FlatWindow(
                    (*[1] * missing, *window.stride),  # type: ignore[arg-type]
                    (*[1] * missing, *window.dilation),  # type: ignore[arg-type]
                    (left, right, top, bottom),
                ),
            )

    def weights(self, channels_last: bool) -> Tensor:
        """Cw1 (C, *kernel) as it is multiplied with: the live memory, for whoever wants to damage it."""
        return self._weight if self.flat is None else self.flat.used(channels_last)

    def intact(self, weight: Tensor) -> bool:
        """Whether all its copies are ``weight``."""
        return all(torch.equal(self.weights(last).reshape(weight.shape), weight) for last in (False, True))

    def portable(self) -> Convolution | None:
        """The convolution in float32, for one and two dimensions with zero padding, and matrix products."""
        return self.flat.portable() if self.flat is not None and self.window.mode == "zeros" else None

    def __call__(self, total: Tensor, channels_last: bool) -> Tensor:
        """Co5 of ``total``, which is (C, *space), or (*space, C) if ``channels_last``."""
        if self.flat is None:
            planar = total.movedim(-1, 0) if channels_last else total
            return self.traceable(planar.to(self._weight.dtype), self._weight)
        if self.window.mode != "zeros":
            total = _padded(total.movedim(-1, 0) if channels_last else total, self.window)
            channels_last = False
        if len(self.window.size) < 2:  # (1, L, C) or (C, 1, L)
            channels = total.shape[-1 if channels_last else 0]
            total = total.reshape((1, -1, channels) if channels_last else (channels, 1, -1))
        return self.flat(total.contiguous(), channels_last)

    def traceable(self, total: Tensor, weight: Tensor) -> Tensor:
        """Co5 of ``total`` (C, *space) with Cw1 ``weight`` (C, *kernel), in torch's own operations."""
        window = self.window
        dimensions = len(window.size)
        if not dimensions:
            return (weight @ total.flatten(1)) if total.dim() > 1 else (weight @ total)[None]
        if window.transposed:
            sums = _TRANSPOSED[dimensions](
                total[None],
                weight[:, None],
                stride=window.stride,
                padding=tuple(before for before, _ in window.padding),
                output_padding=window.extra,
                dilation=window.dilation,
            )
        else:
            sums = _CONVOLUTIONS[dimensions](
                _padded(total, window)[None],
                weight[None],
                stride=window.stride,
                dilation=window.dilation,
            )
        return sums.reshape(-1)


def _padded(total: Tensor, window: Window) -> Tensor:
    """``total`` (C, *space) with its padding around it."""
    flat = [amount for pair in reversed(window.padding) for amount in pair]
    if not any(flat):
        return total
    mode = "constant" if window.mode == "zeros" else window.mode
    return functional.pad(total[None], flat, mode)[0]
