"""Kernels: a compiled core where there is one, its specification in plain PyTorch everywhere else.

``batch_sum`` and ``check_sums`` choose for each call: the core takes contiguous float32 on the CPU, the
reference everything else. Importing this package loads no torch, so that ``status`` is cheap.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from holdfast.kernels import native
from holdfast.kernels.types import BatchStats, Verdict, Window

if TYPE_CHECKING:
    from torch import Tensor

    from holdfast.kernels.checksum import ChecksumConvolution

__all__ = [
    "BatchStats",
    "ChecksumConvolution",
    "Verdict",
    "Window",
    "backend",
    "batch_sum",
    "block_sums",
    "check_sums",
    "status",
]


def backend() -> str:
    """What computes: ``native-avx512``, ``native-avx2``, ``native-scalar`` or ``reference``."""
    kernels = native.load()
    return "reference" if kernels is None else f"native-{kernels.isa}"


def status() -> dict[str, Any]:
    """Whether the native core is there: ``available``, ``backend``, ``variants``, and ``detail`` in words.

    Never raises and loads no torch; an unusable ``HOLDFAST_ISA`` is told in ``detail``.
    """
    from holdfast.core.errors import HoldfastError

    variants = native.variants()
    if not variants:
        _, reason = native.module()
        detail = f"the slower reference in PyTorch is used ({reason}); {native.REMEDY}"
        return {"available": False, "backend": "reference", "variants": [], "detail": detail}
    try:
        name = backend()
    except HoldfastError as error:
        return {"available": False, "backend": "none", "variants": variants, "detail": str(error)}
    detail = f"{name.removeprefix('native-')}; this processor runs {', '.join(variants)}"
    return {"available": True, "backend": name, "variants": variants, "detail": detail}


def batch_sum(x: Tensor, weighted: bool = False) -> tuple[Tensor, BatchStats]:
    """Sum of ``x`` (N, ...) over N in float64, and its statistics; see ``reference.batch_sum``."""
    import torch

    kernels = native.load()
    if kernels is not None and x.dtype is torch.float32 and x.is_cpu and x.is_contiguous():
        return kernels.batch_sum(x, weighted)
    from holdfast.kernels import reference

    return reference.batch_sum(x, weighted)


def block_sums(out: Tensor, channels_last: bool = False) -> Tensor:
    """S5 = Σ_{n,m} of ``out`` at each position, (P,) float64; see ``reference.block_sums``."""
    import torch

    kernels = native.load()
    if kernels is not None and out.dtype is torch.float32 and out.is_cpu and out.is_contiguous():
        return kernels.block_sums(out, channels_last)
    from holdfast.kernels import reference

    return reference.block_sums(out, channels_last)


def check_sums(
    out: Tensor, expected: Tensor, offset: float, threshold: float, channels_last: bool = False
) -> Verdict:
    """Compare Σ_{n,m} of ``out`` with ``expected + offset``; see ``reference.check_sums``."""
    import torch

    kernels = native.load()
    if kernels is not None and out.dtype is torch.float32 and out.is_cpu and out.is_contiguous():
        return kernels.check_sums(out, expected, offset, threshold, channels_last)
    from holdfast.kernels import reference

    return reference.check_sums(out, expected, offset, threshold, channels_last)


def __getattr__(name: str) -> Any:
    if name == "ChecksumConvolution":
        from holdfast.kernels.checksum import ChecksumConvolution

        return ChecksumConvolution
    raise AttributeError(f"module 'holdfast.kernels' has no attribute {name!r}")
