"""Calibrated thresholds: lower than the analytic ones, and still without false alarms."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from holdfast import protect
from holdfast.abft.protect import Protected
from holdfast.core.errors import FaultError, UsageError


def _model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16 * 36, 10)).eval()


def _batches(count: int, seed: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(4, 3, 8, 8, generator=generator) * 10 ** (i % 5 - 2) for i in range(count)]


def _rate(protected: Protected, batches: list[torch.Tensor]) -> float:
    """Fraction of batches with an alarm in the first layer."""
    alarms = 0
    for x in batches:
        protected.clear_events()
        protected(x)
        alarms += any(event.layer == "0" for event in protected.events)
    return alarms / len(batches)


def test_calibration_lowers_the_thresholds_and_raises_no_alarm() -> None:
    protected = protect(_model(), threshold="calibrated", example=_batches(20, 1))
    factors = [layer.factor for layer in protected.layers()]
    assert all(0 < factor < 0.5 for factor in factors)
    assert _rate(protected, _batches(200, 2)) == 0


def test_the_bound_on_false_alarms_holds_without_the_margin() -> None:
    """With K calibration checks and margin 1, a new check exceeds their maximum with 1/(K + 1) at most."""
    k, rates = 9, []
    for seed in range(20):
        protected = protect(_model(), on_fault="record")
        protected.calibrate(_batches(k, seed))
        for layer in protected.layers():
            layer.factor /= 4
        rates.append(_rate(protected, _batches(20, 1000 + seed)))
    mean = sum(rates) / len(rates)
    assert 0 < mean < 1.6 / (k + 1)  # 400 checks: a standard deviation is about a fifth of the bound


def test_a_calibrated_check_sees_what_the_analytic_one_does_not() -> None:
    x = _batches(1, 3)[0]
    analytic = protect(_model())
    calibrated = protect(_model(), threshold="calibrated", example=_batches(20, 1))
    threshold = analytic.sensitivity(x)[0].threshold

    def damage(module: nn.Module, args: object, out: torch.Tensor) -> torch.Tensor:
        out[0, 0, 0, 0] += 0.8 * threshold
        return out

    for protected, alarms in ((analytic, 0), (calibrated, 1)):
        protected.clear_events()
        handle = protected.get_submodule("fault_site.0.fault_site").register_forward_hook(damage)
        protected(x)
        handle.remove()
        assert len(protected.events) == alarms


def test_labels_in_the_batches_are_ignored() -> None:
    pairs = [(x, torch.zeros(4)) for x in _batches(3, 1)]
    protected = protect(_model())
    assert protected.calibrate(pairs) == protect(_model()).calibrate([x for x, _ in pairs])


def test_without_an_example_it_says_so() -> None:
    with pytest.raises(UsageError, match="example"):
        protect(_model(), threshold="calibrated")
    with pytest.raises(UsageError, match="at least one batch"):
        protect(_model()).calibrate([])
    with pytest.raises(UsageError, match="threshold"):
        protect(_model(), threshold="guessed")


def test_a_fault_during_calibration_is_an_error() -> None:
    protected = protect(_model())

    def damage(module: nn.Module, args: object, out: torch.Tensor) -> torch.Tensor:
        return out + 1

    protected.get_submodule("fault_site.0.fault_site").register_forward_hook(damage)
    with pytest.raises(FaultError, match="calibration"):
        protected.calibrate(_batches(1, 0))
