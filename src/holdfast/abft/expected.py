"""Co5 of a layer: Cd1 ⊗ Cw1, prepared once, at every position."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from holdfast.abft.product import Window
from holdfast.kernels import ChecksumConvolution
from holdfast.kernels import Window as FlatWindow

_CONVOLUTIONS = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}
_TRANSPOSED = {
    1: functional.conv_transpose1d,
    2: functional.conv_transpose2d,
    3: functional.conv_transpose3d,
}


class ExpectedSums:
    """Co5 (P,) in float64 of Cd1 (C, *space), for fixed ``weight`` Cw1 (C, *kernel) and ``window``.

    One- and two-dimensional convolutions and matrix products go to the compiled core; the rest to torch.
    """

    def __init__(self, weight: Tensor, window: Window) -> None:
        self.window = window
        self.dimensions = len(window.size)
        self._flat: ChecksumConvolution | None = None
        if self.dimensions <= 2 and not window.transposed:
            missing = 2 - self.dimensions
            zeros = window.mode == "zeros"
            before_after = [*[(0, 0)] * missing, *(window.padding if zeros else [(0, 0)] * self.dimensions)]
            (top, bottom), (left, right) = before_after
            self._flat = ChecksumConvolution(
                weight.reshape(weight.shape[0], *[1] * missing, *window.size),
                FlatWindow(
                    (*[1] * missing, *window.stride),  # type: ignore[arg-type]
                    (*[1] * missing, *window.dilation),  # type: ignore[arg-type]
                    (left, right, top, bottom),
                ),
            )
            weight = self._flat.weight
        self.weight = weight

    def weights(self, channels_last: bool) -> Tensor:
        """Cw1 (C, *kernel) as it is multiplied with: the live memory, for whoever wants to damage it."""
        return self.weight if self._flat is None else self._flat.used(channels_last)

    def __call__(self, total: Tensor, channels_last: bool) -> Tensor:
        """Co5 of ``total``, which is (C, *space), or (*space, C) if ``channels_last``."""
        if self.window.mode != "zeros" and self.window.padding:
            planar = total.movedim(-1, 0) if channels_last else total
            flat = [p for pair in reversed(self.window.padding) for p in pair]
            total, channels_last = functional.pad(planar[None], flat, self.window.mode)[0], False
        if self._flat is not None:
            return self._flat(self._two_dimensional(total, channels_last), channels_last)
        planar = (total.movedim(-1, 0) if channels_last else total)[None]
        before = tuple(pair[0] for pair in self.window.padding)
        if self.window.transposed:
            sums = _TRANSPOSED[self.dimensions](
                planar,
                self.weight[:, None],
                stride=self.window.stride,
                padding=before,
                output_padding=self.window.extra,
                dilation=self.window.dilation,
            )
        else:
            if self.window.mode == "zeros":
                flat = [p for pair in reversed(self.window.padding) for p in pair]
                planar = functional.pad(planar, flat)
            sums = _CONVOLUTIONS[self.dimensions](
                planar, self.weight[None], stride=self.window.stride, dilation=self.window.dilation
            )
        return sums.reshape(-1)

    def _two_dimensional(self, total: Tensor, channels_last: bool) -> Tensor:
        """``total`` as (C, H, W) or (H, W, C), contiguous."""
        if self.dimensions == 2:
            return total.contiguous()
        if channels_last:
            return total.reshape(1, -1, total.shape[-1])
        return total.reshape(total.shape[0], 1, -1)
