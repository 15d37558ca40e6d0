"""What the ladder promises of any fault of one row or one column, however small or mixed its errors."""

from __future__ import annotations

import math

from abft_support import blocks, bound
from torch import Tensor

from holdfast.abft import Protected
from holdfast.abft.threshold import Thresholds

ROUNDING = 1e-12


def assert_never_worse(
    protected: Protected, out: Tensor, damaged: Tensor, clean: Tensor, tau: Thresholds
) -> Tensor:
    """Which positions (P,) of ``out`` are within the bound of the ladder; the others passed CoC-D unseen.

    Those are as the fault left them, in ``damaged``, and their sum is off by at most 2 τ5 (and its
    rounding, where huge errors of both signs meet).
    """
    got, struck, want = (blocks(protected, each).double() for each in (out, damaged, clean))
    allowed = bound(tau, blocks(protected, clean))
    fine = ((got - want).abs() <= allowed).all(0).all(0)  # false for a NaN
    e = struck - want
    unseen = e.sum((0, 1)).abs() <= 2 * tau.t5 + ROUNDING * e.abs().sum((0, 1))
    left = (got == struck).all(0).all(0) & unseen
    worst = ((got - want).abs() / allowed).nan_to_num(math.inf).amax((0, 1))
    assert bool((fine | left).all()), f"{worst[~(fine | left)]} bounds, after {protected.events}"
    return fine
