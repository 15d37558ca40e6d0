import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.training.schedule import learning_rate


def test_shape():
    rates = [learning_rate(step, 100, 2.0) for step in range(100)]
    assert rates[:10] == pytest.approx([0.2 * (i + 1) for i in range(10)])
    assert rates[10] == 2.0
    assert rates[55] == pytest.approx(1.0)
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert 0 < rates[-1] < 0.01


def test_another_warm_up():
    assert [learning_rate(step, 100, 2.0, 4) for step in range(5)] == [0.5, 1.0, 1.5, 2.0, 2.0]
    whole = [learning_rate(step, 100, 2.0, 0) for step in range(100)]
    assert whole[0] == 2.0
    assert whole[50] == pytest.approx(1.0)
    assert whole == sorted(whole, reverse=True)
    assert learning_rate(99, 100, 2.0, 100) == 2.0


@given(st.integers(1, 5000), st.integers(0, 6000))
def test_between_zero_and_the_peak_for_any_length(total, step):
    assert 0 <= learning_rate(step, total, 0.1) <= 0.1
    assert learning_rate(0, total, 0.1) > 0
