from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.nn import functional

from holdfast.core.errors import UnknownNameError, UsageError
from holdfast.training import objectives

GEV = SimpleNamespace(unit_gev=(50.0, None))
PIXELS = SimpleNamespace(unit_gev=None)


class Seeing(nn.Module):
    """Keeps what it was given and answers zero logits."""

    def forward(self, x):
        self.x = x
        return torch.zeros(len(x), 2)


def test_cross_entropy_is_torchs():
    model, x, y = nn.Sequential(nn.Flatten(), nn.Linear(4, 2)), torch.rand(5, 1, 2, 2), torch.arange(5) % 2
    loss = objectives.create("cross_entropy", info=GEV)(model, x, y, torch.Generator())
    assert torch.equal(loss, functional.cross_entropy(model(x), y))


def seen(info, x, seed=0, **options):
    model = Seeing()
    objective = objectives.create("noise", info=info, **options)
    objective(model, x, torch.zeros(len(x), dtype=torch.long), torch.Generator().manual_seed(seed))
    return model.x


def test_noise_is_in_gev_and_leaves_times_alone():
    x = torch.zeros(64, 2, 16, 16)
    stds = [seen(GEV, x, seed, sigma=2.0, dead=0.0)[:, 0].std().item() * 50 for seed in range(40)]
    assert max(stds) <= 2.05
    assert 0.7 < sum(stds) / len(stds) < 1.3  # uniform strengths average to half of the largest
    assert seen(GEV, x)[:, 1].abs().sum() == 0


def test_noise_is_a_fraction_of_the_maximum_without_units():
    x = torch.zeros(64, 1, 16, 16)
    x[:, 0, 8, 8] = 4.0
    empty = [seen(PIXELS, x, seed, sigma=0.5, dead=0.0)[:, 0, :8].std().item() for seed in range(20)]
    assert 0.3 < max(empty) <= 2.05


def test_dead_cells_read_zero_in_all_channels():
    y = seen(GEV, torch.ones(8, 2, 16, 16), 3, sigma=0.0, dead=0.5)
    assert 0 < (y == 0).float().mean() <= 0.5
    assert torch.equal(y[:, 0] == 0, y[:, 1] == 0)


def test_draws_come_from_the_generator_alone():
    x = torch.rand(4, 2, 8, 8)
    assert torch.equal(seen(GEV, x, 1), seen(GEV, x, 1))
    assert not torch.equal(seen(GEV, x, 1), seen(GEV, x, 2))


@pytest.mark.parametrize(
    ("name", "options", "error", "says"),
    [
        ("nois", {}, UnknownNameError, "did you mean 'noise'"),
        ("noise", {"sigam": 1.0}, UsageError, "options sigma, dead"),
        ("cross_entropy", {"sigma": 1.0}, UsageError, "options smoothing"),
        ("noise", {"sigma": -1.0}, UsageError, "sigma"),
        ("noise", {"dead": 1.5}, UsageError, "dead"),
    ],
    ids=["name", "option", "no options", "negative", "rate"],
)
def test_wrong_objectives_are_named(name, options, error, says):
    with pytest.raises(error, match=says):
        objectives.create(name, info=GEV, **options)
