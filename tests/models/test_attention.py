import pytest
import torch

from holdfast.core.errors import UsageError
from holdfast.models.attention import Attention


@pytest.mark.parametrize(("tokens", "dim", "heads"), [(1, 4, 1), (5, 12, 3), (17, 8, 8)])
def test_it_is_softmax_of_scaled_products(tokens, dim, heads):
    layer = Attention(dim, heads).double()
    x = torch.randn(2, tokens, dim, dtype=torch.float64)
    size, mixed = dim // heads, []
    for h in range(heads):
        q, k, v = (part(x)[..., h * size : (h + 1) * size] for part in (layer.q, layer.k, layer.v))
        mixed.append(torch.softmax(q @ k.mT / size**0.5, -1) @ v)
    torch.testing.assert_close(layer(x), layer.proj(torch.cat(mixed, -1)))


def test_heads_divide_the_channels():
    with pytest.raises(UsageError, match="divisor of dim 8"):
        Attention(8, 3)
