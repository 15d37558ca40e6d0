import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from holdfast.models.scaling import KNEE, InputScaling


@given(st.floats(-10, 10, width=32))
def test_sqrt_is_odd_monotonic_and_close_to_the_square_root(value):
    scaling = InputScaling(1, compress="sqrt")
    x = torch.full((1, 1, 1, 1), value)
    y = scaling(x).item()
    assert y == -scaling(-x).item()
    assert scaling(x + 1e-2).item() > y
    assert abs(abs(y) - abs(value) ** 0.5) <= KNEE**0.5 * (1 + 1e-5) + 1e-6


def test_sqrt_has_a_finite_gradient_at_zero():
    x = torch.zeros(1, 1, 2, 2, requires_grad=True)
    InputScaling(1, compress="sqrt")(x).sum().backward()
    torch.testing.assert_close(x.grad, torch.full_like(x, 0.5 / KNEE**0.5))


def test_mean_and_std_are_taken_out_per_channel_and_stay_out_of_the_state_dict():
    scaling = InputScaling(2, mean=(1.0, 2.0), std=(2.0, 4.0))
    x = torch.tensor([3.0, 10.0]).view(1, 2, 1, 1)
    torch.testing.assert_close(scaling(x), torch.tensor([1.0, 2.0]).view(1, 2, 1, 1))
    assert not scaling.state_dict()


def test_plain_scaling_changes_nothing():
    x = torch.randn(2, 3, 5, 5)
    assert torch.equal(InputScaling(3)(x), x)


def test_norm_standardises_in_training_and_is_fixed_afterwards():
    scaling = InputScaling(2, norm=True)
    x = 0.01 * torch.randn(512, 2, 8, 8) + 0.02
    for _ in range(2):
        scaled = scaling(x)
    torch.testing.assert_close(scaled.std((0, 2, 3)), torch.ones(2), atol=0.1, rtol=0)
    scaling.eval()
    torch.testing.assert_close(scaling(x[:1]), scaled[:1], atol=1e-2, rtol=1e-2)


@pytest.mark.parametrize("shape", [(0, 1, 4, 4), (1, 1, 1, 1)], ids=str)
def test_empty_and_single(shape):
    assert InputScaling(1, compress="sqrt", mean=(0.5,))(torch.rand(shape)).shape == shape
