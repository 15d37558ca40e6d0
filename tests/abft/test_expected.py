"""Co5 at every position, in both layouts, against the sum of torch's own output."""

from __future__ import annotations

import copy

import torch
from abft_support import Case, blocks, cases, guarded, wrapper
from hypothesis import HealthCheck, given, settings

from holdfast.abft.checksum import image_sum

SETTINGS = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])


@SETTINGS
@given(case=cases(dtypes=(torch.float64,)))
def test_co5_is_the_sum_of_torchs_output(case: Case) -> None:
    layer = copy.deepcopy(case.layer).double()
    layer.bias = None
    protected = guarded(layer)
    expected = wrapper(protected).expected
    cd1 = image_sum(wrapper(protected).canonical(case.x))
    with torch.no_grad():
        want = blocks(protected, layer(case.x)).sum((0, 1))
    atol = 1e-11 * float(case.x.abs().max()) * cd1.numel()
    torch.testing.assert_close(expected(cd1.contiguous(), False), want, rtol=1e-11, atol=atol)
    last = expected(cd1.movedim(0, -1).contiguous(), True)
    torch.testing.assert_close(last, want, rtol=1e-11, atol=atol)
    traced = expected.traceable(cd1, wrapper(protected).product.cw1)
    torch.testing.assert_close(traced, want, rtol=1e-11, atol=atol)


@SETTINGS
@given(case=cases())
def test_every_copy_of_the_weights_is_looked_at(case: Case) -> None:
    layer = wrapper(guarded(case.layer))
    cw1 = layer.product.cw1.clone()
    assert layer.expected.intact(cw1)
    for last in (False, True):
        memory = layer.expected.weights(last)
        index = (0,) * memory.dim()
        before = float(memory[index])
        memory[index] = torch.nan
        assert not layer.expected.intact(cw1)
        memory[index] = before
        assert layer.expected.intact(cw1)
