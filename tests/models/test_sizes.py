import pytest

from holdfast.core.errors import UsageError
from holdfast.models import ModelConfig
from holdfast.models.sizes import divisors, fit_size, padding


def fit(size, pad=False):
    config = ModelConfig("m", 1, 2, size)
    return fit_size(config, lambda n: n % 7 == 0, "a multiple of 7", pad=pad, hint="crop")


def test_a_size_fits_or_grows_or_is_refused_with_the_nearest():
    assert fit(14) == fit(14, pad=True) == 14
    assert fit(15, pad=True) == 21
    with pytest.raises(UsageError, match=r"got 15; crop; the nearest sizes are 14 or 21; pad=true adds 6 "):
        fit(15)
    with pytest.raises(UsageError, match="the nearest sizes are 7; pad"):
        fit(3)


@pytest.mark.parametrize(("size", "side", "patch"), [(125, 128, 4), (13, 16, 4), (33, 36, 6), (8, 8, 4)])
def test_a_strided_convolution_sees_the_padded_side(size, side, patch):
    p = padding(size, side)
    assert size + 2 * p in (side, side + 1)
    assert (size + 2 * p - patch) // patch + 1 == side // patch


def test_divisors():
    assert divisors(12) == [1, 2, 3, 4, 6, 12]
    assert divisors(1) == [1]
