import math

import pytest
import torch
from torch import nn

from holdfast.models.positions import add_positions, grid, sinusoidal


def test_sinusoids_are_the_papers():
    found = sinusoidal(5, 6)
    for t in range(5):
        for i in range(3):
            angle = t / 10000 ** (2 * i / 6)
            assert float(found[0, t, 2 * i]) == pytest.approx(math.sin(angle), abs=1e-6)
            assert float(found[0, t, 2 * i + 1]) == pytest.approx(math.cos(angle), abs=1e-6)


def test_a_grid_tells_columns_and_rows():
    found = grid(3, 8)[0]
    for row in range(3):
        for column in range(3):
            rates = (1.0, 1e-4)
            angles = [column * rate for rate in rates], [row * rate for rate in rates]
            waves = [f(a) for axis in angles for f in (math.sin, math.cos) for a in axis]
            assert found[3 * row + column].tolist() == pytest.approx(waves, abs=1e-6)


@pytest.mark.parametrize("kind", ["learnable", "sinusoidal", "grid"])
def test_only_learnt_ones_are_parameters_and_in_the_state_dict(kind):
    model = nn.Module()
    add_positions(model, kind, side=3, dim=8, extra=1)
    assert model.positions.shape == (1, 10, 8)
    assert ("positions" in model.state_dict()) == (kind == "learnable") == bool(list(model.parameters()))
    assert torch.isfinite(model.positions).all()
    if kind == "grid":
        assert not model.positions[0, 0].any()  # a class token has no place in the image
