import pytest
import torch

from holdfast.core.errors import UsageError
from holdfast.models.attention import Attention, LocalityAttention


@pytest.mark.parametrize(("tokens", "dim", "heads"), [(1, 4, 1), (5, 12, 3), (17, 8, 8)])
def test_it_is_softmax_of_scaled_products(tokens, dim, heads):
    layer = Attention(dim, heads).double()
    x = torch.randn(2, tokens, dim, dtype=torch.float64)
    size, mixed = dim // heads, []
    for h in range(heads):
        q, k, v = (part(x)[..., h * size : (h + 1) * size] for part in (layer.q, layer.k, layer.v))
        mixed.append(torch.softmax(q @ k.mT / size**0.5, -1) @ v)
    torch.testing.assert_close(layer(x), layer.proj(torch.cat(mixed, -1)))


def test_heads_may_be_wider_than_the_tokens():
    layer = Attention(6, 2, head_dim=5)
    assert layer.q.weight.shape == (10, 6)
    assert layer(torch.randn(2, 3, 6)).shape == (2, 3, 6)


def test_with_locality_no_token_sees_itself_and_the_scale_is_learnt():
    torch.manual_seed(0)
    layer = LocalityAttention(8, 2, tokens=5).double()
    assert layer.scale.item() == pytest.approx(4**-0.5)
    layer.scale.data.fill_(0.9)
    x, mixed = torch.randn(2, 5, 8, dtype=torch.float64), []
    for h in (slice(0, 4), slice(4, 8)):
        q, k, v = (part(x)[..., h] for part in (layer.q, layer.k, layer.v))
        scores = 0.9 * q @ k.mT
        scores.diagonal(dim1=1, dim2=2).fill_(-torch.inf)
        mixed.append(torch.softmax(scores, -1) @ v)
    torch.testing.assert_close(layer(x), layer.proj(torch.cat(mixed, -1)))
    layer(x).sum().backward()
    assert layer.scale.grad.item() != 0


def test_heads_divide_the_channels():
    with pytest.raises(UsageError, match="divisor of dim 8"):
        Attention(8, 3)
