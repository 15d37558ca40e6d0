"""Sensitivity: the lowest bit that is said to be certain is certain."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from holdfast import protect
from holdfast.abft.sensitivity import describe, lowest_certain_bit
from holdfast.core.errors import UsageError


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("value", [1.0, 0.3, -7.5, 1234.5])
@pytest.mark.parametrize("threshold", [1e-9, 1e-4, 0.01, 0.2, 3.0, 1e6])
def test_every_flip_from_the_lowest_certain_bit_on_is_large(
    value: float, threshold: float, dtype: torch.dtype
) -> None:
    integer = {32: torch.int32, 64: torch.int64, 16: torch.int16}[torch.finfo(dtype).bits]
    number = torch.tensor(value, dtype=dtype)
    bit = lowest_certain_bit(float(number), threshold, dtype)
    changes = []
    for flipped in range(torch.finfo(dtype).bits):
        mask = 1 << flipped
        mask -= (1 << torch.finfo(dtype).bits) if flipped == torch.finfo(dtype).bits - 1 else 0
        other = (number.view(integer) ^ mask).view(dtype)
        change = abs(float(other.double()) - float(number.double()))
        changes.append(float("inf") if change != change else change)
    if bit is None:
        assert changes[-1] < 2 * threshold
    else:
        assert all(change >= 2 * threshold for change in changes[bit:])
        # Below it a flip may hide; in the mantissa it does.
        if 0 < bit <= 23:
            assert changes[bit - 1] < 2 * threshold or dtype is not torch.float32 or bit == 23


def test_zero_is_certain_of_nothing() -> None:
    assert lowest_certain_bit(0.0, 1e-6, torch.float32) is None


def test_a_layer_a_line() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 16, 10)).eval()
    x = torch.randn(4, 3, 6, 6)
    protected = protect(model, example=x)
    found = protected.sensitivity()
    assert [item.layer for item in found] == ["0", "3"]
    assert found[0].certain == 2 * found[0].threshold
    assert found[0].typical == pytest.approx(float(model[0](x).detach().square().mean().sqrt()), rel=1e-5)
    assert all(item.lowest_certain_bit is not None and item.lowest_certain_bit < 20 for item in found)
    assert describe(found).count("\n") == 2
    with pytest.raises(UsageError, match="example"):
        protect(model).sensitivity()


def test_flips_of_certain_bits_are_caught_in_a_running_model() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 3)).eval()
    x = torch.randn(2, 3, 6, 6)
    protected = protect(model, plan=None)
    (found,) = protected.sensitivity(x)
    clean = model(x)
    typical = clean.abs() >= found.typical
    assert found.lowest_certain_bit is not None
    for bit in range(found.lowest_certain_bit, 31):
        index = tuple(typical.nonzero()[bit % int(typical.sum())].tolist())

        def damage(module: nn.Module, args: object, out: torch.Tensor, i=index, b=bit) -> torch.Tensor:  # type: ignore[no-untyped-def]
            view = out.view(torch.int32)
            view[i] = view[i] ^ (1 << b)
            return out

        protected.clear_events()
        handle = protected.get_submodule("fault_site.0.fault_site").register_forward_hook(damage)
        out = protected(x)
        handle.remove()
        assert len(protected.events) == 1, f"bit {bit}"
        assert torch.allclose(out, clean, atol=4 * found.threshold)
