from __future__ import annotations

import pytest
import torch
from stress_support import make_net
from torch import Tensor

from holdfast.core.errors import UsageError
from holdfast.stress import GaussianNoise

X = torch.rand(40, 2, 8, 8, generator=torch.Generator().manual_seed(1))
Y = torch.zeros(40, dtype=torch.long)


def noisy(stressor: GaussianNoise, x: Tensor = X) -> Tensor:
    with stressor.apply(make_net(), x, Y[: len(x)], torch.Generator().manual_seed(0)) as stressed:
        assert torch.equal(stressed.y, Y[: len(x)])
        return stressed.x


def test_sigma_in_gev() -> None:
    added = noisy(GaussianNoise(sigma_gev=0.5, unit_gev=(50.0, None))) - X
    assert added[:, 0].std().item() == pytest.approx(0.5 / 50, rel=0.05)
    assert abs(added[:, 0].mean().item()) < 0.001
    assert torch.equal(added[:, 1], torch.zeros_like(added[:, 1]))


def test_channels_with_units_of_their_own() -> None:
    added = noisy(GaussianNoise(sigma_gev=0.5, unit_gev=(50.0, 1.0))) - X
    assert added[:, 1].std().item() / added[:, 0].std().item() == pytest.approx(50, rel=0.1)


def test_sigma_as_fraction_of_each_maximum() -> None:
    x = X.clone()
    x[0] *= 100
    added = noisy(GaussianNoise(sigma_fraction_of_max=0.1), x) - x
    largest = x.amax((2, 3), keepdim=True)
    relative = added / largest
    assert relative.std().item() == pytest.approx(0.1, rel=0.05)
    assert relative[0].std().item() == pytest.approx(0.1, rel=0.3)


def test_sigma_of_each_reading() -> None:
    x = X.clone()
    x[:, :, 0] = 0
    added = noisy(GaussianNoise(sigma_relative=0.3, unit_gev=(50.0, None)), x) - x
    assert not added[:, :, 0].any()
    assert not added[:, 1].any()
    assert (added[:, 0, 1:] / x[:, 0, 1:]).std().item() == pytest.approx(0.3, rel=0.05)


def test_sigma_in_input_units_is_on_every_channel() -> None:
    added = noisy(GaussianNoise(sigma_input=0.1, unit_gev=(50.0, None))) - X
    assert added[:, 0].std().item() == pytest.approx(0.1, rel=0.05)
    assert added[:, 1].std().item() == pytest.approx(0.1, rel=0.05)


def test_fraction_spares_channels_that_are_no_energy() -> None:
    added = noisy(GaussianNoise(sigma_fraction_of_max=0.1, unit_gev=(None, 2.0))) - X
    assert not added[:, 0].any()
    assert added[:, 1].any()


def test_clip_is_off_by_default_and_keeps_energies_positive() -> None:
    options = {"sigma_gev": 50.0, "unit_gev": (50.0, None)}
    assert noisy(GaussianNoise(**options)).min() < 0
    x = X.clone()
    x[:, 1] = -1  # a time may be negative
    clipped = noisy(GaussianNoise(**options, clip=True), x)
    assert clipped[:, 0].min() == 0
    assert clipped[:, 0].max() > 1
    assert torch.equal(clipped[:, 1], x[:, 1])


def test_default_size() -> None:
    assert GaussianNoise(unit_gev=50.0).labels == {"sigma_gev": 0.05}
    assert GaussianNoise().labels == {"sigma_fraction_of_max": 0.05}


def test_no_noise_changes_nothing() -> None:
    assert torch.equal(noisy(GaussianNoise(sigma_fraction_of_max=0)), X)


@pytest.mark.parametrize(
    "options",
    [
        {"sigma_gev": 1.0, "sigma_fraction_of_max": 0.1},
        {"sigma_gev": -1.0},
        {"sigma_fraction_of_max": float("nan")},
        {"unit_gev": (0.0,)},
        {"unit_gev": (float("inf"),)},
        {"value_range": (1, 0)},
        {"value_range": (1,)},
    ],
    ids=str,
)
def test_wrong_options(options: dict) -> None:
    with pytest.raises(UsageError):
        GaussianNoise(**options)


@pytest.mark.parametrize("unit", [None, (50.0, 50.0, 50.0), (None, None)], ids=str)
def test_gev_needs_a_unit_for_each_channel(unit: object) -> None:
    with pytest.raises(UsageError):
        noisy(GaussianNoise(sigma_gev=1.0, unit_gev=unit))  # type: ignore[arg-type]
