"""The compiled core: finding it, choosing its instruction set, and calling it with tensors.

Loading it needs no torch. Its OpenMP runtime is the one that torch brings if torch was imported first.
"""

from __future__ import annotations

import os
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any

from holdfast.core.errors import NativeCoreError, UsageError
from holdfast.kernels.types import BatchStats, Verdict, Window

if TYPE_CHECKING:
    from torch import Tensor

ACTIVATIONS = ("none", "relu", "clamp", "leaky")
"""What ``finish_layer`` can apply: nothing, max(x, 0), that and an upper bound, x or slope·x below 0."""
CARRY_HEAD = 8
"""Numbers before the sum in a carry (statistics), and before Co5 in a check (threshold, deviation)."""
DETECT_HEAD = 8
"""Numbers before Co5 in the memory of ``before_layer``; the first four are the statistics of the input."""
REMEDY = "reinstall holdfast where a C++17 compiler is installed"


@cache
def module() -> tuple[Any, str]:
    """The extension module and "", or None and why it cannot be loaded."""
    try:
        return import_module("holdfast._native"), ""
    except ImportError as error:
        return None, str(error)


def required() -> bool:
    """Whether ``HOLDFAST_REQUIRE_NATIVE`` asks for an error instead of the reference."""
    return os.environ.get("HOLDFAST_REQUIRE_NATIVE", "") not in ("", "0")


def variants() -> list[str]:
    """Instruction sets that this build and this processor offer, best first; none without the core."""
    core, _ = module()
    return [] if core is None else list(core.available())


@cache
def load() -> Kernels | None:
    """The kernels of the best instruction set, or of the one that ``HOLDFAST_ISA`` names; None without core.

    Raises NativeCoreError where the core is required and absent, UsageError for an unknown ``HOLDFAST_ISA``.
    """
    core, reason = module()
    if core is None:
        if required():
            raise NativeCoreError("native core", expected="a loadable one", got=reason, remedy=REMEDY)
        return None
    known = variants()
    name = os.environ.get("HOLDFAST_ISA") or known[0]
    if name not in known:
        raise UsageError(
            "HOLDFAST_ISA", expected=f"one of {', '.join(known)} on this processor", got=repr(name)
        )
    return Kernels(name)


class Kernels:
    """The kernels of one instruction set; see ``reference`` for what they compute.

    Tensors are on the CPU and contiguous: batches and outputs float32, sums, weights and checksums float64.
    The caller sees to that (``kernels.__init__`` does). The GIL is released while a kernel runs.
    """

    def __init__(self, isa: str) -> None:
        core, reason = module()
        if core is None:
            raise NativeCoreError("native core", expected="a loadable one", got=reason, remedy=REMEDY)
        self._core = core.Core(isa)
        self._geometry = core.Geometry
        self._plan = core.LayerPlan
        self._detection = core.Detection
        self.isa = isa
        self.finish_layer = self._core.finish_layer
        """Check and finish one layer, all in addresses; see ``finish_layer`` in native/src/passes.hpp."""
        self.carry_sum = self._core.carry_sum
        """``batch_sum`` of (address, N, length) into the carry at an address."""
        self.before_layer = self._core.before_layer
        """Sum a layer's input and make Co5, all in addresses; see native/src/detect.hpp."""
        self.after_layer = self._core.after_layer
        """Compare its output: a Verdict's numbers, the threshold, whether the input is as it was summed."""
        self.sparse_program = core.SparseProgram
        """An empty list of steps for ``sparse_run``; see native/src/sparse.hpp."""
        self.sparse_run = self._core.sparse_run
        """Run such a program on the arena at an address, and the addresses of the tensors that it reads."""
        self.sparse_time = self._core.sparse_time
        """The same; returns the seconds that each step took."""

    def batch_sum(self, x: Tensor, weighted: bool = False) -> tuple[Tensor, BatchStats]:
        """See ``reference.batch_sum``; x float32."""
        import torch

        shape = x.shape
        total = torch.empty(shape[1:], dtype=torch.float64)
        stats = self._core.batch_sum(x.data_ptr(), shape[0], total.numel(), weighted, total.data_ptr())
        return total, BatchStats(*stats)

    def block_sums(self, out: Tensor, channels_last: bool) -> Tensor:
        """See ``reference.block_sums``; out float32."""
        import torch

        shape = out.shape
        m = shape[-1] if channels_last else shape[1]
        sums = torch.empty(out.numel() // (shape[0] * m), dtype=torch.float64)
        self._core.block_sums(out.data_ptr(), shape[0], m, sums.numel(), channels_last, sums.data_ptr())
        return sums

    def layer_plan(
        self,
        shape: tuple[int, int, int, int],
        weight: Tensor,
        window: Window,
        outputs: int,
        *,
        bias_sum: float,
        activation: str,
        parameter: float,
        threshold: tuple[float, ...],
        inside: bool,
        pool: tuple[int, ...] = (0, 0, 1, 1, 0, 0),
    ) -> tuple[Any, int, tuple[int, int]]:
        """What ``finish_layer`` needs for inputs of ``shape`` (N, C, H, W); positions; size of the map.

        ``weight`` Cw1 (C, R, S) float64, ``activation`` one of ACTIVATIONS with its ``parameter`` (bound or
        slope), ``threshold`` the seven constants of ``Threshold`` in native/src/passes.hpp, ``pool`` kernel,
        stride and padding of a maximum over windows, two of each; the map is what that leaves.
        """
        n, channels, height, width = shape
        high, wide = window.output_size((height, width), (weight.shape[1], weight.shape[2]))
        left, _, top, _ = window.padding
        kernel = weight.shape[1:]
        numbers = [channels, height, width, *kernel, *window.stride, top, left, *window.dilation, high, wide]
        last = weight.permute(1, 2, 0).flatten().tolist()
        kind = ACTIVATIONS.index(activation)
        size = (high, wide)
        if pool[0]:
            pooled = [(size[i] + 2 * pool[4 + i] - pool[i]) // pool[2 + i] + 1 for i in (0, 1)]
            size = (pooled[0], pooled[1])
        plan = self._plan(
            numbers,
            last,
            n,
            outputs,
            n * bias_sum,
            kind,
            parameter,
            list(threshold),
            inside,
            [*pool, *size],
        )
        return plan, high * wide, size

    def detection(
        self,
        shape: tuple[int, int, int, int],
        kernel: tuple[int, int],
        window: Window,
        outputs: int,
        *,
        channels_last: bool,
        bias_sum: float,
        threshold: tuple[float, ...],
        inside: bool,
        verified: bool,
    ) -> tuple[Any, int, int]:
        """What ``before_layer`` and ``after_layer`` need for inputs of ``shape`` (N, C, H, W); how many
        positions the output has; how many float64 the memory of a call has.

        ``threshold`` as in ``layer_plan``; ``verified``: after the layer its input is compared with its sum.
        """
        n, channels, height, width = shape
        left, _, top, _ = window.padding
        high, wide = window.output_size((height, width), kernel)
        numbers = [channels, height, width, *kernel, *window.stride, top, left, *window.dilation, high, wide]
        plan = self._detection(
            numbers, channels_last, n, outputs, n * bias_sum, list(threshold), inside, verified
        )
        length = channels * height * width
        return plan, high * wide, DETECT_HEAD + high * wide + (length if n > 1 else (length + 1) // 2)

    def geometry(
        self, shape: tuple[int, int, int], kernel: tuple[int, int], window: Window
    ) -> tuple[Any, int]:
        """The core's form of a convolution over (C, H, W), and the number of its output positions."""
        channels, height, width = shape
        high, wide = window.output_size((height, width), kernel)
        left, _, top, _ = window.padding
        numbers = [channels, height, width, *kernel, *window.stride, top, left, *window.dilation, high, wide]
        return self._geometry(numbers), high * wide

    def checksum_convolution(
        self, total: Tensor, weight: Tensor, geometry: tuple[Any, int], channels_last: bool
    ) -> Tensor:
        """See ``reference.checksum_convolution``; weight (R, S, C) if channels_last, else (C, R, S)."""
        import torch

        prepared, positions = geometry
        out = torch.empty(positions, dtype=torch.float64)
        self._core.checksum_convolution(
            total.data_ptr(), weight.data_ptr(), prepared, channels_last, out.data_ptr()
        )
        return out

    def check_sums(
        self, out: Tensor, expected: Tensor, offset: float, threshold: float, channels_last: bool
    ) -> Verdict:
        """See ``reference.check_sums``; out float32."""
        shape = out.shape
        m = shape[-1] if channels_last else shape[1]
        verdict = self._core.check_sums(
            out.data_ptr(),
            shape[0],
            m,
            expected.numel(),
            channels_last,
            expected.data_ptr(),
            offset,
            threshold,
        )
        return Verdict(*verdict)
