from __future__ import annotations

import pytest
import torch
from stress_support import make_net
from torch import Tensor

from holdfast.core.errors import UsageError
from holdfast.stress import Miscalibration

X = torch.rand(6, 2, 16, 16, generator=torch.Generator().manual_seed(1)) + 0.1
Y = torch.zeros(6, dtype=torch.long)


def harmed(stressor: Miscalibration, seed: int = 0) -> Tensor:
    with stressor.apply(make_net(), X, Y, torch.Generator().manual_seed(seed)) as stressed:
        return stressed.x


def test_one_gain_for_each_cell_and_channel_of_the_detector() -> None:
    gain = harmed(Miscalibration(spread=0.2)) / X
    assert torch.allclose(gain, gain[:1].expand_as(gain))
    assert gain[0].log().std().item() == pytest.approx(0.2, rel=0.1)
    assert gain.min() > 0
    assert not torch.allclose(gain[0, 0], gain[0, 1])
    assert not torch.allclose(gain, harmed(Miscalibration(spread=0.2), seed=1) / X)


def test_a_scale_is_common_to_all_energies_and_spares_the_rest() -> None:
    scaled = harmed(Miscalibration(spread=0, scale=0.9, unit_gev=(50.0, None)))
    assert torch.allclose(scaled[:, 0], 0.9 * X[:, 0])
    assert torch.equal(scaled[:, 1], X[:, 1])


@pytest.mark.parametrize("options", [{"spread": -0.1}, {"spread": float("nan")}, {"scale": 0.0}])
def test_wrong_sizes(options: dict[str, float]) -> None:
    with pytest.raises(UsageError):
        Miscalibration(**options)
