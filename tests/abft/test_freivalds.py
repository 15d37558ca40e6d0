"""Random weights: the true product holds, and what cancels in Co5 does not."""

from __future__ import annotations

import pytest
import torch
from abft_support import Case, blocks, cases, guarded, taus, wrapper
from hypothesis import HealthCheck, given, settings
from torch import Tensor

from holdfast.abft.freivalds import product_holds

SETTINGS = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])


def holds(case: Case, out: Tensor) -> bool:
    """Whether ``out`` passes for the output of the case."""
    protected = guarded(case.layer)
    layer = wrapper(protected)
    tau = taus(protected, case.x, out)
    return product_holds(layer.product, layer.canonical(case.x), blocks(protected, out), layer.bias, tau.t5)


@SETTINGS
@given(case=cases())
def test_the_true_product_holds(case: Case) -> None:
    assert holds(case, case.clean)


@SETTINGS
@given(case=cases())
def test_errors_that_cancel_are_seen(case: Case) -> None:
    """Two errors of a row, of a column, or four at the corners of a rectangle."""
    protected = guarded(case.layer)
    for pattern in ("row", "column", "rectangle"):
        out = case.clean
        view = blocks(protected, out)
        n, m, _ = view.shape
        error = 1e3 * (taus(protected, case.x, out).t5 + float(view.abs().max()))
        if pattern != "column" and m > 1:
            view[0, 0, 0] += error
            view[0, m - 1, 0] -= error
        if pattern != "row" and n > 1:
            view[n - 1, 0, 0] -= error
            if pattern == "column" or m > 1:
                view[0 if pattern == "column" else n - 1, 0 if pattern == "column" else m - 1, 0] += error
        assert holds(case, out) == torch.equal(out, case.clean)


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_what_is_not_finite_does_not_hold(value: float) -> None:
    case = Case(torch.nn.Linear(3, 4), torch.ones(2, 3), 0)
    out = case.clean
    out[1, 2] = value
    assert not holds(case, out)
