"""The weights in the layout that oneDNN multiplies with: what really computes on the fast path."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from holdfast.abft.product import Window
from holdfast.abft.weights import crc

_BATCH = 16  # what oneDNN chooses a layout for; the copy serves all batch sizes


class Packed:
    """A prepacked copy of ``source()`` = (weight, bias), made when it is first needed.

    Opaque to torch: never copied, pickled or part of a state dict. ``source`` gives the pristine weights.
    """

    def __init__(
        self, source: Callable[[], tuple[Tensor, Tensor | None]], window: Window, groups: int
    ) -> None:
        self._source = source
        self.window, self.groups = window, groups
        self.weight: Any = None
        self.bias: Tensor | None = None
        self._marks = (0, 0)
        self._struck: Tensor | None = None

    def ready(self, space: tuple[int, ...]) -> Any:
        """The packed weight, for inputs of about the size ``space``."""
        if self.weight is None:
            weight, bias = self._source()
            self._pack(weight if self._struck is None else self._struck, bias, space)
            self._struck = None
            self._marks = crc(weight), 0 if bias is None else crc(bias)
        return self.weight

    def _pack(self, weight: Tensor, bias: Tensor | None, space: tuple[int, ...]) -> None:
        self._space = space
        with torch.inference_mode(False), torch.no_grad():
            self.bias = None if bias is None else bias.clone()
            weight = weight.clone()
            if not self.window.size:
                self.weight = torch.ops.mkldnn._reorder_linear_weight(weight, _BATCH)
                return
            self.weight = torch.ops.mkldnn._reorder_convolution_weight(
                weight,
                [before for before, _ in self.window.padding],
                list(self.window.stride),
                list(self.window.dilation),
                self.groups,
                [_BATCH, weight.shape[1] * self.groups, *space],
            )

    def drop(self) -> None:
        """Forget the copy; the next call makes it again."""
        self.weight, self.bias = None, None

    def dense(self) -> Tensor:
        """The weights that compute, (M, C/groups, *kernel), copied into the ordinary layout."""
        if self.weight is None:
            return self._source()[0].clone()
        dense: Tensor = self.weight.to_dense()
        return dense

    @property
    def bytes(self) -> int:
        """Size of the copy."""
        if self.weight is None:
            return 0
        bias = 0 if self.bias is None else self.bias.nbytes
        return bias + int(torch.ops.mkldnn._nbytes(self.weight))

    def intact(self) -> bool:
        """Whether the copy is, bit for bit, what was packed."""
        if self.weight is None:
            return True
        return self._marks == (crc(self.dense()), 0 if self.bias is None else crc(self.bias))

    # ---- for fault campaigns: ``core.protocols.WeightStore`` ---------------------------------------------

    def damage(self, index: tuple[int, ...], bits: int) -> None:
        """Give element ``index`` of the weight that computes the float32 with the pattern ``bits``."""
        dense = self.dense().contiguous()
        dense.view(torch.int32)[index] = bits - (1 << 32) if bits >= 1 << 31 else bits
        self.write(dense)

    def read(self) -> Tensor:
        """A copy of the weights that compute."""
        return self.dense()

    def write(self, weight: Tensor) -> None:
        """Compute with ``weight`` from now on, as if memory had changed; ``intact`` tells."""
        if self.weight is None:
            self._struck = weight
        else:
            self._pack(weight, self.bias, self._space)

    def restore(self) -> None:
        """Undo all writes."""
        self._struck = None
        self.drop()
